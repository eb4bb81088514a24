"""The rows of all splits of a table, end to end: what every check looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headwise.errors import InputError
from headwise.reading.batches import Rows
from headwise.reading.columns import Columns
from headwise.reading.records import Records
from headwise.reading.text import Text, Texts

MANY, RARE = 200, 10  # more labels than this, with fewer rows each on average, are hardly classes
Labels = tuple[str, ...]  # of one text: sorted, each once; empty where it has none


@dataclass(frozen=True, eq=False)
class Split:
    """One split: a file's rows."""

    name: str  # train, validation or test
    records: Records
    columns: Columns
    separator: str | None = None  # between the labels of a text, where it may have several

    @property
    def texts(self) -> Texts:
        second = None if self.columns.pair is None else self.records.table[self.columns.pair]
        return Texts(self.records.table[self.columns.text], second)

    @property
    def multi_label(self) -> bool:
        """Whether a text may have several labels."""
        assert self.columns.label is not None
        return self.separator is not None or self.records.has_lists(self.columns.label)

    def labels(self) -> list[Labels]:
        """The labels of each row."""
        assert self.columns.label is not None
        values = self.records.table[self.columns.label].to_pylist()
        if not self.multi_label:
            return [(value,) if value.strip() else () for value in values]
        lists = [value.split(self.separator) if isinstance(value, str) else value for value in values]
        return [tuple(sorted({one.strip() for one in names if one.strip()})) for names in lists]


@dataclass(frozen=True, eq=False)
class Corpus:
    """b rows: those of the training split, then of validation and test where there are any."""

    parts: tuple[Split, ...]
    texts: list[Text]
    labels: list[Labels]
    classes: bool = True  # whether labels are classes; else there are none here

    @staticmethod
    def of(parts: Sequence[Split], classes: bool = True) -> Corpus:
        """Raises InputError where a text column holds lists, or a label is one text here and a list there."""
        for part in parts:
            for name in (part.columns.text, part.columns.pair):
                if name is not None and part.records.has_lists(name):
                    raise InputError(f"{part.records.path}: column {name} holds lists, expected text")
            if classes and part.multi_label != parts[0].multi_label:
                kind = "lists" if part.multi_label else "text"
                raise InputError(
                    f"{part.records.path}: column {part.columns.label} holds {kind}, "
                    f"otherwise than {parts[0].records.path}; write both alike"
                )
        texts = [text for part in parts for text in part.texts[:]]
        labels: list[Labels] = [names for part in parts for names in part.labels()] if classes else [()] * len(texts)
        return Corpus(tuple(parts), texts, labels, classes)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def multi_label(self) -> bool:
        """Whether a text may have several labels, or none."""
        return not self.classes or self.parts[0].multi_label

    @cached_property
    def part_of(self) -> Rows:
        """The number of each row's split. [b]"""
        return np.repeat(np.arange(len(self.parts)), [len(part.records) for part in self.parts])

    @cached_property
    def starts(self) -> Rows:
        """Where each split begins. [parts]"""
        sizes = np.array([len(part.records) for part in self.parts], np.int64)
        return np.cumsum(sizes) - sizes

    @cached_property
    def lines(self) -> Rows:
        """The line of its file where each row begins. [b]"""
        return np.concatenate([part.records.lines(np.arange(len(part.records))) for part in self.parts])

    def file(self, row: int) -> str:
        """The file a row is from."""
        return self.parts[self.part_of[row]].records.path

    def where(self, row: int) -> str:
        """'reviews.csv, line 7'"""
        return f"{self.file(row)}, {self.parts[self.part_of[row]].records.unit} {self.lines[row]}"

    def sides(self, row: int) -> tuple[str, ...]:
        """The one text of a row, or the two of a pair."""
        text = self.texts[row]
        return (text,) if isinstance(text, str) else tuple(text)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels that occur, by name."""
        return tuple(sorted({name for names in self.labels for name in names}))

    @property
    def numerous(self) -> bool:
        """Whether there are so many labels, a few rows each, that they are hardly classes but numbers, names, texts."""
        return len(self.names) > MANY and RARE * len(self.names) > sum(map(len, self.labels))

    @cached_property
    def truth(self) -> npt.NDArray[np.bool_]:
        """Which of the names each row has. [b names]"""
        number = {name: at for at, name in enumerate(self.names)}
        found = np.zeros((len(self), len(self.names)), np.bool_)
        for row, names in enumerate(self.labels):
            found[row, [number[name] for name in names]] = True
        return found

    def respelled(self, spelling: Mapping[str, str]) -> Corpus:
        """The same with some labels called otherwise."""
        labels = [tuple(sorted({spelling.get(name, name) for name in names})) for names in self.labels]
        return replace(self, labels=labels)
