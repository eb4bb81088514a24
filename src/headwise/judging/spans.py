"""Entities in tagged words: counted as conlleval counts them, and what a report says of the mistakes.

Tags are numbers, whatever they are called: 0 for none, then two for each type, its B- and its I-: 2t + 1 and 2t + 2.
A row's tags are a tuple with one for each word.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headwise.errors import InputError, listing, printable
from headwise.judging.metrics import ClassScores
from headwise.judging.sections import Column, Findings, Table

METRICS = {
    "f1": "entity F1",
    "precision": "precision",
    "recall": "recall",
    "macro_f1": "macro F1",
    "accuracy": "token accuracy",
}
"""The metrics a model can be chosen by, and how they are written for a reader."""

Rows = npt.NDArray[Any]  # [b] of tuples
Entity = tuple[int, int, int, int]  # row, first word, the word after the last, type


@dataclass(frozen=True)
class EntityScores:
    """How one set of answers did. An entity is right where its type and both its ends are."""

    f1: float  # over all entities of whatever type
    precision: float
    recall: float
    macro_f1: float  # the mean over types that occur, in truth or in answers
    accuracy: float  # share of words with the right tag
    per_type: dict[str, ClassScores]
    entities: int
    rows: int

    def named(self, metric: str) -> float:
        """The score called `metric`; InputError, listing what there is, for a name not in METRICS."""
        if metric not in METRICS:
            raise InputError(f"there is no metric {metric!r}; choose one of {listing(METRICS)}")
        return float(getattr(self, metric))

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)


def entities(rows: Sequence[Sequence[int]]) -> list[Entity]:
    """The entities of b rows of tags, in their order, as conlleval.pl and seqeval's default mode find them.

    One begins at B-, and also at I- of another type than the word before it: nothing is thrown away.
    """
    lengths = np.array([len(row) for row in rows])
    tags = np.fromiter((tag for row in rows for tag in row), np.int64, int(lengths.sum()))
    if not len(tags):
        return []
    row = np.repeat(np.arange(len(rows)), lengths)
    kind = np.where(tags == 0, -1, (tags - 1) // 2)
    goes_on = np.append(False, (row[1:] == row[:-1]) & (kind[1:] == kind[:-1]) & (tags[1:] % 2 == 0))
    begins = (tags > 0) & ~goes_on
    ends = (tags > 0) & ~np.append(goes_on[1:], False)
    at, last = np.flatnonzero(begins), np.flatnonzero(ends)
    starts = (np.cumsum(lengths) - lengths)[row[at]]
    return list(
        zip(row[at].tolist(), (at - starts).tolist(), (last + 1 - starts).tolist(), kind[at].tolist(), strict=True)
    )


def score(truth: Rows, answers: Rows, types: Sequence[str]) -> EntityScores:
    """Score answers against the truth, both b rows of as many tags. Raises InputError without rows."""
    if not len(truth):
        raise InputError("there are no rows to score")
    true, given = entities(truth), entities(answers)
    found, support, right = (_by_type(some, len(types)) for some in (given, true, set(given) & set(true)))
    precision, recall, f1 = _ratio(right, found), _ratio(right, support), _ratio(2 * right, found + support)
    words = sum(map(len, truth))
    same = sum(one == other for row, answer in zip(truth, answers, strict=True) for one, other in zip(row, answer, strict=True))
    columns = zip(precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    occurs = found + support > 0
    return EntityScores(
        f1=float(_ratio(2 * right.sum(), found.sum() + support.sum())),
        precision=float(_ratio(right.sum(), found.sum())),
        recall=float(_ratio(right.sum(), support.sum())),
        macro_f1=float(f1[occurs].mean()) if occurs.any() else 0.0,
        accuracy=same / words if words else 0.0,
        per_type={name: ClassScores(*values) for name, values in zip(types, columns, strict=True)},
        entities=int(support.sum()),
        rows=len(truth),
    )


def _by_type(some: Any, types: int) -> npt.NDArray[Any]:
    """How many entities of each type. [types]"""
    return np.bincount(np.array([kind for *_, kind in some], np.int64), minlength=types)


def _ratio(above: Any, below: Any) -> npt.NDArray[Any]:
    """above / below, and 0 where below is 0."""
    return np.where(below == 0, 0.0, above / np.maximum(below, 1))


def as_text(scores: EntityScores) -> str:
    """Type by type, laid out as scikit-learn's classification report."""
    width = max(len("macro avg"), *(len(printable(name)) for name in scores.per_type))
    lines = [f"{'':>{width}}  precision    recall  f1-score   entities", ""]
    for name, one in scores.per_type.items():
        lines.append(f"{printable(name):>{width}}  {one.precision:9.3f} {one.recall:9.3f} {one.f1:9.3f} {one.support:10,}")
    total = f"{scores.precision:9.3f} {scores.recall:9.3f} {scores.f1:9.3f} {scores.entities:10,}"
    return "\n".join([*lines, "", f"{'all':>{width}}  {total}"])


def findings(types, truth, answers, sure, texts, places) -> Findings:
    return Findings()
