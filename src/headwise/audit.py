"""Checking tables before training: what is wrong with them, where, and a repaired copy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from headwise.checking.corpus import Corpus, Split
from headwise.checking.duplicates import duplicates
from headwise.checking.findings import Checked, Finding, by_severity
from headwise.checking.labels import classes, contradictions, spelling, unlabelled, variants
from headwise.checking.lengths import LENGTHS, lengths
from headwise.checking.markers import markers
from headwise.checking.repair import refuse_taken, repair
from headwise.checking.texts import empty, garbage, languages
from headwise.checking.wrong_labels import wrong_labels
from headwise.errors import InputError
from headwise.families.checkpoint import read_model
from headwise.families.hub import STARTER, locate
from headwise.reading.batches import Rows
from headwise.reading.text import TextTokenizer
from headwise.tasks.text_classification import TextClassification, remarks
from headwise.training.asked import Asked
from headwise.training.data import Data, Source, opened, refuse_absent, task_and_columns
from headwise.training.inference import features

Wait = Callable[[str], AbstractContextManager[None]]
FEATURE_LENGTH = 128  # tokens of a text that a model reads to say which labels look wrong


def unsaid(_: str) -> AbstractContextManager[None]:
    """Tells nobody."""
    return nullcontext()


def check(
    train: Source,
    valid: Source | None = None,
    test: Source | None = None,
    *,
    model: str | None = None,
    fix: str | Path | None = None,
    seed: int = 42,
    wait: Wait = unsaid,
    **asked: Any,
) -> Checked:
    """What is wrong with a table: findings with their rows, the gravest first.

    Labels are looked at where they are classes; for any other task it is made sure that they can be read.

    train, valid, test: files, or rows in memory; none of them is changed.
    model: whose tokenizer counts lengths (else the starter's), and whose features, frozen, help to tell which
    labels look wrong; fix: a folder to write a repaired copy to, with changes.jsonl, a list of all changes.
    asked: what there is to say about the table (text_column='review', …). wait: told what takes time.

    Raises InputError for files that cannot be read, columns that cannot be found and a folder that is taken.
    """
    corpus, notes = read_corpus(train, valid, test, Asked.of(**asked))
    if fix is not None:
        refuse_taken(Path(fix), [Path(part.records.path).name for part in corpus.parts])
    findings, same, rows = surface(corpus, wait)
    findings += [Finding("labels", "warning", said) for said in ([] if corpus.multi_label else remarks(corpus.names))]
    for part in corpus.parts:
        if part.records.encoding:
            findings.append(Finding("encoding", "note", f"{part.records.path}: encoding {part.records.encoding}"))
    with wait("counting tokens"):
        findings += lengths_of(same, rows, model)
    known = None
    if model is not None and len(rows):
        with wait(f"asking {model} for features"):
            known = features_of(same, rows, model)
    with wait("looking for wrong labels"):
        findings += wrong_labels(same, rows, seed, known)
    checked = Checked(corpus, by_severity(findings), tuple(notes))
    if fix is not None:
        repair(checked, Path(fix))
    return checked


def surface(corpus: Corpus, wait: Wait = unsaid) -> tuple[list[Finding], Corpus, Rows]:
    """What shows without a model; the corpus with each class spelled one way; and the rows that can be read."""
    broken = [*empty(corpus), *unlabelled(corpus)]
    with wait("reading the texts"):
        broken += garbage(corpus, without(corpus, broken))
    rows, spelled = without(corpus, broken), spelling(corpus)
    findings = [*broken, *variants(corpus, spelled)]
    same = corpus.respelled(spelled)  # the rest looks past how a class is spelled
    findings += [*classes(same), *contradictions(same, rows)]
    with wait("looking for near-duplicates"):
        findings += duplicates(same, rows)
    with wait("looking for markers and languages"):
        findings += [*markers(same, rows), *languages(same, rows)]
    return findings, same, rows


def of_data(data: Data, wait: Wait = unsaid) -> Checked:
    """What shows in the rows of a job without a model, the gravest first."""
    separator = data.asked.label_separator
    corpus = Corpus.of([Split(part.name, part.records, data.columns, separator) for part in data.parts])
    return Checked(corpus, by_severity(surface(corpus, wait)[0]), ())


def read_corpus(train: Source, valid: Source | None, test: Source | None, asked: Asked) -> tuple[Corpus, list[str]]:
    """The rows of all splits, their columns called as in training, and what was guessed."""
    records, notes = opened(train, asked)
    kind, columns = task_and_columns(records, asked)
    notes += columns.notes
    parts = [Split("train", records, columns, asked.label_separator)]
    for name, source in (("validation", valid), ("test", test)):
        if source is not None:
            other, said = opened(source, asked)
            refuse_absent(other, columns)
            parts.append(Split(name, other, columns, asked.label_separator))
            notes += said
    corpus = Corpus.of(parts, classes=kind is TextClassification)
    if not corpus.classes:
        task = kind.of_table(records, columns, asked.label_separator, ())
        for part in parts:
            task.truth(part.records, part.columns, asked.label_separator)
        notes.append(f"task: {kind.name}; labels are not classes, so their texts alone are checked")
    return corpus, notes


def without(corpus: Corpus, findings: list[Finding]) -> Rows:
    """The rows none of these findings is about."""
    return np.setdiff1d(np.arange(len(corpus)), [row for found in findings for row in found.rows]).astype(np.int64)


def lengths_of(corpus: Corpus, rows: Rows, model: str | None) -> list[Finding]:
    """What would be cut; where the starter model is not at hand and none is given, why nobody knows."""
    if not len(rows):
        return []
    try:
        directory = locate(model or STARTER)
    except InputError as error:
        if model is not None:
            raise
        return [Finding("lengths", "note", f"not counted: {error}", "name a model with --model")]
    return lengths(corpus, rows, TextTokenizer.read(directory, max(LENGTHS)), model or STARTER)


def features_of(corpus: Corpus, rows: Rows, model: str) -> np.ndarray[Any, Any]:
    """What a model as it is makes of these rows. [rows d_model]"""
    directory = locate(model)
    checkpoint = read_model(directory, 2, redraw=True)
    tokenizer = TextTokenizer.read(directory, min(FEATURE_LENGTH, checkpoint.max_length), checkpoint.vocab_size)
    return features(checkpoint.model, tokenizer.encode([corpus.texts[row] for row in rows.tolist()]))
