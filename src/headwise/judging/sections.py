"""What a report's page is made of, whatever the task: tables, plots and confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from markupsafe import Markup


@dataclass(frozen=True)
class Column:
    """The head of one column of a table, and how its cells are set.

    number: to the right. bar: a share of 1, its length drawn beneath. label, text: words from outside, short or long,
    which may run from right to left.
    """

    name: str
    kind: Literal["number", "bar", "label", "text"] = "number"


@dataclass(frozen=True)
class Table:
    """Rows under a head. Without rows, the hint is all there is to say."""

    kind: ClassVar[str] = "table"

    title: str
    hint: str
    head: tuple[Column, ...]
    rows: tuple[tuple[str | float, ...], ...]  # floats get three decimals, whole numbers and words stay as they are


@dataclass(frozen=True)
class Plot:
    """A picture."""

    kind: ClassVar[str] = "plot"

    title: str
    hint: str
    svg: Markup  # of plots.svg


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix."""

    count: int
    shade: float  # 0 to 1, how strongly it is coloured
    right: bool


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix small enough to be read: truth by row, prediction by column."""

    kind: ClassVar[str] = "matrix"

    title: str
    hint: str
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]  # a label and its cells


Section = Table | Plot | Matrix


@dataclass(frozen=True)
class Findings:
    """What a task has to tell beside its scores."""

    hint: str = ""  # how the scores are to be read, where that is not plain
    sections: tuple[Section, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)  # for metrics.json, plain JSON
    said: tuple[str, ...] = ()  # for the terminal, a paragraph each

    def joined(self, others: Findings) -> Findings:
        """These, and others after them."""
        return replace(
            self,
            sections=(*self.sections, *others.sections),
            numbers={**self.numbers, **others.numbers},
            said=(*self.said, *others.said),
        )


def beginning(text: str) -> str:
    """At most 300 characters of a text, as much as a cell can hold."""
    return text if len(text) <= 300 else text[:299] + "…"
