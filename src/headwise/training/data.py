"""The rows a run trains, validates and is tested on: read, split, their columns found, checked against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from headwise.errors import InputError, listing
from headwise.families.family import Purpose
from headwise.reading.columns import Columns, choose_columns
from headwise.reading.questions import unrolled
from headwise.reading.records import Records, from_columns
from headwise.reading.splits import script, shared_texts, split
from headwise.reading.tables import read
from headwise.reading.text import Texts
from headwise.tasks import guessed, named
from headwise.tasks.task import Task
from headwise.training.asked import Asked

Source = Any  # a file's path, or in memory Records, or what from_columns makes them of
VALIDATION, TEST = 0.1, 0.1  # shares of the rows where only one file is given


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one split."""

    name: str
    records: Records
    texts: Texts
    truth: npt.NDArray[Any]  # [b …] as the task reads it

    def select(self, rows: npt.NDArray[np.int64], name: str) -> Part:
        return Part(name, self.records.select(rows), self.texts.take(rows), self.truth[rows])

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class Data:
    """The splits of a job, and what is to be said about them."""

    train: Part
    valid: Part
    test: Part | None
    columns: Columns
    asked: Asked
    task: Task
    notes: tuple[str, ...]
    table: Part | None = None  # what others were split off from

    @property
    def judged(self) -> Part:
        """What the report is about: the test rows, or where there are none the validation rows."""
        return self.valid if self.test is None else self.test

    @property
    def parts(self) -> list[Part]:
        """The splits there are."""
        return [part for part in (self.train, self.valid, self.test) if part is not None]

    def fingerprints(self) -> dict[str, str]:
        """sha256 of each split's texts and truth, and of the table that others were split off from."""
        found = {part.name: fingerprint(part) for part in self.parts}
        return found if self.table is None else found | {"table": fingerprint(self.table)}


def read_data(
    train: Source,
    valid: Source | None,
    test: Source | None,
    asked: Asked,
    seed: int,
    known: Mapping[Purpose, tuple[str, ...]],
) -> Data:
    """Read what is given and split off what is not.

    known: labels a model has already, by what its head is for.

    Raises InputError for files that cannot be read, columns that cannot be found, empty texts, a single class,
    and labels that training never sees.
    """
    records, notes = opened(train, asked)
    kind, columns = task_and_columns(records, asked)
    records, skipped = refused_or_skipped(records, columns, kind, asked.skip_empty)
    task = kind.of_table(records, columns, asked.label_separator, known.get(kind.purpose, ()))
    if asked.query_prefix or asked.document_prefix:
        task = task.prefixed(asked.query_prefix, asked.document_prefix)
    whole = part_of(records, "train", columns, task, asked)
    notes += task.remarks(records, columns)
    language = f"language: {script(whole.texts.first)} (guessed from the letters)"
    notes += [*columns.notes, f"task: {task.name}, {task.kind}", language, *skipped]
    given: dict[str, Part | None] = {"validation": None, "test": None}
    for name, source in (("validation", valid), ("test", test)):
        if source is not None:
            given[name], said = other_part(source, name, columns, task, asked)
            notes += said
    parts, said = split_off(whole, given, seed, task)
    table = None if parts["train"] is whole else whole
    data = Data(parts["train"], parts["validation"], parts.get("test"), columns, asked, task, (), table)
    return replace(data, notes=tuple(dict.fromkeys((*notes, *said, *repeated(data)))))  # parts may have one in common


def task_and_columns(records: Records, asked: Asked) -> tuple[type[Task], Columns]:
    """The task and the columns, as asked for or guessed. Raises InputError for tasks and columns there are not."""
    kind = None if asked.task is None else named(asked.task)
    need_label = True if kind is None else kind.needs_label
    columns = choose_columns(records, asked.text_column, asked.pair_column, asked.label_column, need_label=need_label)
    kind = kind or guessed(records, columns)
    return kind, replace(columns, label=None) if need_label is False else columns


def opened(source: Source, asked: Asked) -> tuple[Records, list[str]]:
    """Rows and what was guessed to read them. Raises InputError for what is neither a file nor rows."""
    if isinstance(source, str | Path):
        records = read(source, delimiter=asked.delimiter, quote=False if asked.no_quote else None)
    else:
        records = source if isinstance(source, Records) else from_columns(source)
    records = unrolled(records)
    if not len(records):
        raise InputError(f"{records.path}: no rows; add some")
    return records, list(records.notes)


def refused_or_skipped(records: Records, columns: Columns, task: type[Task], skip: bool) -> tuple[Records, list[str]]:
    """Rows whose texts hold something. Raises InputError at the first empty one unless they are to be skipped."""
    empty, place = empty_texts(records, columns, task)
    if not empty.any():
        return records, []
    if not skip:
        raise InputError(
            f"{place} ({int(empty.sum())} such rows in all); "
            "write one, delete the row, or leave such rows out with --skip-empty"
        )
    if empty.all():
        raise InputError(f"{records.path}: every text is empty; choose another column with --text-column")
    return records.select(np.flatnonzero(~empty)), [f"{records.path}: {int(empty.sum())} rows without text left out"]


def empty_texts(records: Records, columns: Columns, task: type[Task]) -> tuple[npt.NDArray[np.bool_], str]:
    """Which rows lack a text, or one of a pair, and where the first does. [b]"""
    texts = task.texts(records, columns)
    sides = {columns.text: texts.first} | ({} if columns.pair is None else {columns.pair: texts.second})
    lacking = {name: pc.equal(pc.utf8_trim_whitespace(side), "").to_numpy() for name, side in sides.items()}
    empty = np.any([*lacking.values()], axis=0)
    if not empty.any():
        return empty, ""
    row = int(empty.argmax())
    of = "" if columns.pair is None else f" in column {next(name for name in lacking if lacking[name][row])}"
    return empty, f"{records.where(row)}: the text{of} is empty"


def part_of(records: Records, name: str, columns: Columns, task: Task, asked: Asked) -> Part:
    """One split's texts and targets."""
    truth = task.truth(records, columns, asked.label_separator)
    return Part(name, records, task.texts(records, columns), truth)


def other_part(source: Source, name: str, columns: Columns, task: Task, asked: Asked) -> tuple[Part, list[str]]:
    """A validation or test file, whose columns are called as in training."""
    records, notes = opened(source, asked)
    refuse_absent(records, columns)
    if columns.label is None and task.needs_label is None:  # training can do without one that is here
        columns = choose_columns(records, columns.text, columns.pair, need_label=None)
        notes += columns.notes
    records, skipped = refused_or_skipped(records, columns, type(task), asked.skip_empty)
    return part_of(records, name, columns, task, asked), [*notes, *skipped, *task.remarks(records, columns)]


def refuse_absent(records: Records, columns: Columns) -> None:
    """Raise InputError where a table lacks a column of the training table."""
    names = (columns.text, columns.pair, columns.label)
    if absent := [name for name in names if name is not None and name not in records.columns]:
        raise InputError(
            f"{records.path}: no column {listing(absent)} as in training, its columns are {listing(records.columns)}; "
            "rename what holds the same"
        )


def split_off(whole: Part, given: dict[str, Part | None], seed: int, task: Task) -> tuple[dict[str, Part], list[str]]:
    """The parts by name. Without validation rows some are taken from training; without either, test rows too."""
    parts = {name: part for name, part in given.items() if part is not None}
    if "validation" in parts:
        return {"train": whole, **parts}, []
    names = ["train", "validation"] if "test" in parts else ["train", "validation", "test"]
    shares = [1 - VALIDATION, VALIDATION] if "test" in parts else [1 - VALIDATION - TEST, VALIDATION, TEST]
    kin, said = task.kin(whole.texts)
    try:
        cut = split(kin, task.strata(whole.truth), shares, seed)
    except InputError as error:
        raise InputError(f"{whole.records.path}: {error}") from None
    parts |= {name: whole.select(rows, name) for name, rows in zip(names, cut.parts, strict=True)}
    sizes = ", ".join(f"{name} {len(rows):,}" for name, rows in zip(names, cut.parts, strict=True))
    evenly = " by label" if len(task.labels) > 1 else ""
    return parts, [f"{whole.records.path} split{evenly} with seed {seed}: {sizes} rows{said}", *cut.notes]


def repeated(data: Data) -> list[str]:
    """A word for each split that repeats texts of another one."""
    found = []
    for first, second in combinations(data.parts, 2):
        texts, rows = shared_texts(first.texts.joined, second.texts.joined)
        if texts:
            found.append(
                f"leak: {texts:,} texts of {second.name} ({rows:,} of its {len(second):,} rows) "
                f"also stand in {first.name}, which flatters its score"
            )
    return found


def fingerprint(part: Part) -> str:
    """sha256 of a split's texts and truth, in their order."""
    truth = part.truth if part.truth.dtype != object else np.array([repr(one) for one in part.truth])
    digest = hashlib.sha256(np.ascontiguousarray(truth).tobytes())
    for start in range(0, len(part.texts), 4096):
        digest.update(repr(part.texts[start : start + 4096]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
