"""Scores: accuracy, precision, recall and F1 of one set of predictions.

Two shapes are understood everywhere in `judging`. Single label: class numbers, integers [rows]. Multi-label: 0 or 1
for every class, integers [rows, classes]. A ratio with nothing below the line counts as 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from headwise.errors import InputError, listing

METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "weighted_f1": "weighted F1", "micro_f1": "micro F1"}
"""The metrics a model can be chosen by, and how they are written for a reader."""


class Scored(Protocol):
    """How one set of predictions did, whatever the task."""

    @property
    def rows(self) -> int:
        """How many rows were scored."""

    @property
    def parts(self) -> "Mapping[str, ClassScores]":
        """The scores of each class, or type of entity, where there are any."""

    def named(self, metric: str) -> float:
        """The score called `metric`; InputError, listing what there is, for a name that is none."""

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON."""


@dataclass(frozen=True)
class NamedScores:
    """Scores whose fields are called as their metrics are."""

    metrics: ClassVar[Mapping[str, str]]

    @property
    def parts(self) -> "Mapping[str, ClassScores]":
        """Of scores that are not of classes: none."""
        return {}

    def named(self, metric: str) -> float:
        """The score called `metric`; InputError, listing what there is, for a name not in metrics."""
        if metric not in self.metrics:
            raise InputError(f"there is no metric {metric!r}; choose one of {listing(self.metrics)}")
        return float(getattr(self, metric))

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ClassScores:
    """How one class did: three shares between 0 and 1, and the rows that truly have it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores(NamedScores):
    """How one set of predictions did. The averages are over all classes, those without a row included."""

    metrics: ClassVar[Mapping[str, str]] = METRICS

    accuracy: float  # multi-label: share of rows with exactly the right set
    macro_f1: float
    weighted_f1: float  # each class counts by its support
    micro_f1: float  # single label: equal to accuracy
    per_class: dict[str, ClassScores]
    rows: int

    @property
    def parts(self) -> Mapping[str, ClassScores]:
        """Of each class."""
        return self.per_class


def score(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str]) -> Scores:
    """Score predictions against the truth, both [rows] or both [rows, classes].

    Raises InputError without rows, ValueError when the two shapes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape}, predicted {predicted.shape}")
    if not len(truth):
        raise InputError("there are no rows to score")
    right, given, support = counts(truth, predicted, len(labels))
    precision, recall, f1 = _ratio(right, given), _ratio(right, support), f1_scores(right, given, support)
    columns = zip(precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    means = averages(same(truth, predicted).mean(), right, given, support)
    return Scores(
        **{name: float(value) for name, value in means.items()},
        per_class={label: ClassScores(*values) for label, values in zip(labels, columns, strict=True)},
        rows=len(truth),
    )


def same(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Whether each row's answer is right: the class, or exactly the set of them [rows]."""
    equal = truth == predicted
    return np.asarray(equal if equal.ndim == 1 else equal.all(axis=1))


def f1_scores(right: np.ndarray, given: np.ndarray, support: np.ndarray) -> np.ndarray:
    """The F1 of every class, from its counts [… classes]."""
    return _ratio(2 * right, given + support)


def averages(accuracy: np.ndarray, right: np.ndarray, given: np.ndarray, support: np.ndarray) -> dict[str, np.ndarray]:
    """Every one of METRICS […], from the share of right rows […] and the counts of the classes [… classes]."""
    f1 = f1_scores(right, given, support)
    return {
        "accuracy": accuracy,
        "macro_f1": f1.mean(axis=-1),
        "weighted_f1": _ratio((f1 * support).sum(axis=-1), support.sum(axis=-1)),
        "micro_f1": _ratio(2 * right.sum(axis=-1), (given + support).sum(axis=-1)),
    }


def counts(truth: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every class [classes]: how often it was given rightly, was given at all, and is the truth."""
    if truth.ndim == 2:
        return (truth * predicted).sum(axis=0), predicted.sum(axis=0), truth.sum(axis=0)
    sets = truth[truth == predicted], predicted, truth
    right, given, support = (np.bincount(numbers, minlength=classes) for numbers in sets)
    return right, given, support


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """The confusion matrix, laid out as scikit-learn does: truth by row, prediction by column.

    Single label: rows of class i that were called j, [classes, classes]. Multi-label: for every class
    [[rightly not given, wrongly given], [missed, rightly given]], [classes, 2, 2].
    """
    if truth.ndim == 1:
        cells = np.bincount(truth * classes + predicted, minlength=classes * classes)
        return cells.reshape(classes, classes)
    right, given, support = counts(truth, predicted, classes)
    wrong, missed = given - right, support - right
    return np.stack([len(truth) - right - wrong - missed, wrong, missed, right], axis=1).reshape(classes, 2, 2)


def classification_report(truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str], digits: int = 3) -> str:
    """scikit-learn's classification report, every label listed, also one without a row."""
    import sklearn.metrics

    if truth.ndim == 2:
        # scikit-learn takes a single column for a two-class problem; an empty column more, left unlisted, prevents it
        truth, predicted = (np.pad(array, ((0, 0), (0, 1))) for array in (truth, predicted))
    report: str = sklearn.metrics.classification_report(
        truth, predicted, labels=range(len(labels)), target_names=list(labels), digits=digits, zero_division=0
    )
    return report


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, and 0 where below is 0."""
    return np.where(below == 0, 0.0, above / np.maximum(below, 1))
