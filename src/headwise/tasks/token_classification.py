"""Token classification: every word of a text gets a tag, and words whose tags belong together are an entity."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from headwise.errors import InputError, excerpt, listing
from headwise.families.family import Purpose
from headwise.judging import spans
from headwise.judging.intervals import Drawn
from headwise.judging.sections import Findings
from headwise.reading.batches import NOWHERE, Batch, Examples, PerToken
from headwise.reading.columns import Columns
from headwise.reading.entities import has_spans, read_spans
from headwise.reading.records import Records
from headwise.reading.tags import BEGINS, Tag, read_tags, tag_of
from headwise.reading.text import Text, Texts, TextTokenizer
from headwise.reading.words import Read, Spans, Words, read_words, singles, spans_of
from headwise.tasks.task import Array, Task


@dataclass(frozen=True)
class Layout:
    """Texts, and where their words stand in them and among the tokens."""

    texts: Sequence[str]
    spans: Sequence[Spans]
    read: Read


@dataclass(frozen=True)
class TokenClassification(Task):
    """What a tagger answers, how it is trained and how its answers are scored.

    Truth and answers are b tuples with a number for each word, counted as judging.spans says: 0, and two for each type.
    A word's tag stands at its first token; the others do not count.
    """

    name: ClassVar[str] = "token-classification"
    purpose: ClassVar[Purpose] = "ForTokenClassification"
    metrics: ClassVar[Mapping[str, str]] = spans.METRICS

    labels: tuple[str, ...]

    @classmethod
    def fits(cls, records: Records, columns: Columns) -> bool:
        """Lists on both sides, or spans of a text."""
        if columns.pair is None and not records.has_lists(columns.text) and has_spans(records, columns.target):
            return True
        return all(records.has_lists(name) for name in (columns.text, columns.target))

    @classmethod
    def of_table(
        cls, records: Records, columns: Columns, separator: str | None = None, known: Sequence[str] = ()
    ) -> TokenClassification:
        """O, and B- and I- of each type; where the model has the same labels, they stay in its order."""
        cls.texts(records, columns)
        _, rows = tags_of(records, columns)
        types = sorted({kind for row in rows for _, kind in row} - {""})
        if not types:
            raise InputError(
                f"{records.path}: column {columns.target} has no tag but O, nothing to learn; tag some words"
            )
        labels = ("O", *(f"{place}-{kind}" for kind in types for place in "BI"))
        return cls(tuple(known) if set(known) == set(labels) else labels)

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...]) -> TokenClassification:
        """Other tools' labels may be of other schemes."""
        return cls(labels)

    @cached_property
    def types(self) -> tuple[str, ...]:
        """The types of entity, in order."""
        return tuple(sorted({tag_of(label)[1] for label in self.labels} - {""}))

    @cached_property
    def number_of_label(self) -> npt.NDArray[np.int64]:
        """What each of the model's labels is called in truth and answers. [c]"""
        return np.array([self.number(*tag_of(label)) for label in self.labels])

    def number(self, place: str, kind: str) -> int:
        """0, or that of B- or I- of a type."""
        return 0 if not kind else 2 * self.types.index(kind) + (1 if place in BEGINS else 2)

    @property
    def metric(self) -> str:
        """What early stopping watches unless told otherwise."""
        return "f1"

    @property
    def kind(self) -> str:
        """A few words about it for the notes."""
        return f"{len(self.types)} types of entity"

    @classmethod
    def texts(cls, records: Records, columns: Columns) -> Texts:
        """Lists of words, or plain texts, in which words are found. Raises InputError for pairs."""
        if columns.pair is not None:
            raise InputError(f"{records.path}: {cls.name} reads single texts, found a second column {columns.pair}")
        if records.has_lists(columns.text):
            return Words.of(records, columns.text)
        return Texts(records.table[columns.text])

    def truth(self, records: Records, columns: Columns, separator: str | None = None) -> Array:
        """b tuples. Raises InputError for what is not tagged word by word, and a type that is not one of ours."""
        _, rows = tags_of(records, columns)
        for number, row in enumerate(rows):
            unseen = sorted({kind for _, kind in row} - {"", *self.types})
            if unseen:
                raise InputError(
                    f"{records.where(number)}: type {excerpt(unseen[0])} in column {columns.target} never occurs in "
                    f"training, which has {listing(self.types)}; mend the tag or leave the row out"
                )
        return tuples([self.number(*tag) for tag in row] for row in rows)

    def remarks(self, records: Records, columns: Columns) -> list[str]:
        """Which scheme was converted."""
        scheme, _ = tags_of(records, columns)
        return [] if scheme == "IOB2" else [f"{records.path}: the tags are {scheme}, converted to IOB2"]

    def strata(self, truth: Array) -> Array:
        """The type of a row's first entity."""
        firsts = [next((tag for tag in row if tag), 0) for row in truth]
        return np.array(["O", *self.types])[(np.array(firsts) + 1) // 2]

    def examples(self, tokenizer: TextTokenizer, texts: Sequence[Text], truth: Array | None = None) -> Examples:
        """Windows of tokens, the tags at the first token of each word."""
        plain_texts = singles(texts)
        where = spans_of(plain_texts)
        read = read_words(tokenizer, plain_texts, where)
        layout = Layout(plain_texts, where, read)
        plain = Examples(read.tokens, None, truth, read.counts, layout)
        if truth is None:
            return plain
        label_of = np.full(2 * len(self.types) + 1, NOWHERE)
        label_of[self.number_of_label] = np.arange(len(self.labels))
        targets = np.full(len(read.tokens.ids), NOWHERE)
        tags = np.concatenate([np.array(row, np.int64) for row in truth])
        marked = (read.first >= 0) & ~read.shared
        targets[read.first[marked]] = label_of[tags[marked]]
        return Examples(read.tokens, PerToken(plain, targets), truth, read.counts, layout)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The sum over each row's words. outputs [n c] -> [b]"""
        assert batch.targets is not None
        each = F.cross_entropy(outputs, batch.targets, ignore_index=NOWHERE, reduction="none")  # [n]
        counts = batch.counts if batch.counts is not None else np.ones(len(batch.ids.lengths.each), np.int64)
        rows = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))[batch.ids.lengths.sequence]
        return each.new_zeros(len(counts)).index_add(0, rows, each)

    def weights(self, targets: Array) -> Array:
        """Only words count. [n]"""
        return (targets != NOWHERE).astype(np.float64)

    def answered(self, examples: Examples, outputs: Tensor) -> tuple[Array, Array]:
        """Each word's tag and its probability. -> [all words], [all words]"""
        read: Read = examples.layout.read
        scores, best = outputs.softmax(-1).max(-1)
        tags = np.where(read.first < 0, 0, self.number_of_label[best.numpy()][read.first])
        tags += read.shared & (tags % 2 == 1)  # what begins an entity does so once
        row = np.repeat(np.arange(len(read.words)), read.words)
        for at in np.flatnonzero(read.first[1:-1] < 0) + 1:  # what no token is of does not end an entity
            if tags[at + 1] == tags[at - 1] + tags[at - 1] % 2 and row[at - 1] == row[at + 1]:
                tags[at] = tags[at + 1]
        return tags, np.where(read.first < 0, 1.0, scores.numpy()[read.first])

    def decide(self, examples: Examples, outputs: Tensor) -> Array:
        """The likeliest tag of every word."""
        return tuples(row_by_row(self.answered(examples, outputs)[0], examples.layout.read.words))

    def scored(self, truth: Array, answers: Array) -> spans.EntityScores:
        """Entities, as conlleval counts them."""
        return spans.score(truth, answers, self.types)

    def drawn(self, truth: Array, *answers: Array) -> tuple[Drawn, ...]:
        """By drawing rows that are counted once."""
        return spans.drawn(truth, *answers, types=len(self.types))

    def refuse_other(self, other: Task) -> None:
        """Also where the types differ; those that are the same have the same numbers."""
        super().refuse_other(other)
        if isinstance(other, TokenClassification) and (odd := set(self.types) ^ set(other.types)):
            raise InputError(f"the two models cannot be compared: {listing(sorted(odd))} is a type of one only")

    def told(self, examples: Examples, outputs: Tensor) -> list[dict[str, Any]]:
        """{"entities": [{"label", "text", "start", "end", "score"}, …]}; the score is the mean over its words."""
        layout = examples.layout
        tags, scores = (row_by_row(one, layout.read.words) for one in self.answered(examples, outputs))
        found: list[list[dict[str, Any]]] = [[] for _ in tags]
        for row, first, last, kind in spans.entities(tags):
            start, end = int(layout.spans[row][first, 0]), int(layout.spans[row][last - 1, 1])
            score = float(scores[row][first:last].mean())
            text = layout.texts[row][start:end]
            found[row].append({"label": self.types[kind], "text": text, "start": start, "end": end, "score": score})
        return [{"entities": some} for some in found]

    def baselines(
        self, train: Sequence[Text], truth: Array, texts: Sequence[Text], seed: int
    ) -> dict[str, Callable[[], Array]]:
        """Each word's commonest tag."""
        return {"each word's commonest tag": lambda: commonest(train, truth, texts)}

    def findings(self, texts: Sequence[Text], examples: Examples, outputs: Tensor) -> Findings:
        """Type by type, what kind of mistakes, the worst of them."""
        tags, scores = self.answered(examples, outputs)
        words = examples.layout.read.words
        answers, sure = tuples(row_by_row(tags, words)), row_by_row(scores, words)
        return spans.findings(self.types, examples.truth, answers, sure, examples.layout.texts, examples.layout.spans)

    def breakdown(self, truth: Array, answers: Array) -> str:
        """Type by type."""
        return spans.as_text(truth, answers, self.types)


def tags_of(records: Records, columns: Columns) -> tuple[str, list[list[Tag]]]:
    """The scheme of a table and its tags in IOB2, one for each word of the texts, or made of spans of plain texts.

    Raises InputError where it has neither.
    """
    if records.has_lists(columns.text):
        return read_tags(records, columns.target, columns.text)
    if not has_spans(records, columns.target):
        raise InputError(
            f"{records.path}: column {columns.text} holds text, expected a list of words, one for each tag, or beside "
            f'the text a column of spans: [{{"start": 0, "end": 3, "label": "PER"}}]'
        )
    return "IOB2", read_spans(records, columns.target, columns.text)


def tuples(rows: Any) -> Array:
    """An array of b tuples."""
    made = [tuple(int(tag) for tag in row) for row in rows]
    array = np.empty(len(made), object)
    array[:] = made
    return array


def row_by_row(flat: Array, counts: Array) -> list[Array]:
    """What stands end to end, row by row."""
    return np.split(flat, np.cumsum(counts)[:-1])


def commonest(train: Sequence[Text], truth: Array, texts: Sequence[Text]) -> Array:
    """The tag each word has most often in training, and none for a word that isn't there."""
    seen: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for words, tags in zip(words_in(train), truth, strict=True):
        for word, tag in zip(words, tags, strict=True):
            seen[word][tag] += 1
    usual = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
    return tuples([usual.get(word, 0) for word in words] for words in words_in(texts))


def words_in(texts: Sequence[Text]) -> list[list[str]]:
    """The words of texts."""
    plain = singles(texts)
    return [[text[a:b] for a, b in some.tolist()] for text, some in zip(plain, spans_of(plain), strict=True)]
