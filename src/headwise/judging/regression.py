"""Numbers against numbers: scores, and what a report says of them.

Truth and predictions are numbers [rows] in the table's unit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy
from markupsafe import Markup

from headwise.errors import InputError
from headwise.judging.baselines import Text, joined
from headwise.judging.metrics import NamedScores
from headwise.judging.plots import BLUE, GREY, ORANGE, axes, svg
from headwise.judging.sections import Column, Findings, Plot, Table, beginning

METRICS = {"pearson": "Pearson", "spearman": "Spearman", "r2": "R²"}
"""The metrics a model can be chosen by, and how they are written for a reader; of each, more is better."""

DRAWN = 2_000  # points of a plot; more could not be seen


@dataclass(frozen=True)
class Scores(NamedScores):
    """How one set of predictions did. What is not defined, as the correlation with a constant, counts as 0."""

    metrics: ClassVar[Mapping[str, str]] = METRICS

    pearson: float  # correlation
    spearman: float  # correlation of the ranks
    r2: float  # share of the variance explained; below 0 where the mean would do better
    mae: float  # mean absolute error, in the table's unit
    rmse: float  # root of the mean squared error, in the table's unit
    rows: int


def score(truth: np.ndarray, predicted: np.ndarray) -> Scores:
    """Score predictions against the truth, both [rows].

    Raises InputError without rows, ValueError when the two shapes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has shape {truth.shape}, predicted {predicted.shape}")
    if not len(truth):
        raise InputError("there are no rows to score")
    squares = np.square(predicted - truth).mean()
    return Scores(
        pearson=correlation(truth, predicted),
        spearman=correlation(scipy.stats.rankdata(truth), scipy.stats.rankdata(predicted)),
        r2=float(1 - squares / truth.var()) if np.ptp(truth) else 0.0,
        mae=float(np.abs(predicted - truth).mean()),
        rmse=float(np.sqrt(squares)),
        rows=len(truth),
    )


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's, 0 where one of them does not vary."""
    if not (np.ptp(first) and np.ptp(second)):
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    return float((first / np.linalg.norm(first)) @ (second / np.linalg.norm(second)))


def findings(truth: np.ndarray, predicted: np.ndarray, texts: Sequence[Text]) -> Findings:
    """Truth against prediction, the residuals, the worst mistakes."""
    drawn = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), DRAWN)).astype(int))
    some = "" if len(drawn) == len(truth) else f" ({len(drawn):,} of {len(truth):,} rows)"
    against = f"A point for each row{some}; on the line, prediction and truth are the same."
    return Findings(
        sections=(
            Plot("Truth and prediction", against, _scatter(truth[drawn], predicted[drawn])),
            Plot(
                "Residuals",
                "Prediction minus truth: right of 0, the model says too much.",
                _histogram(truth, predicted),
            ),
            _mistakes(truth, predicted, texts),
        )
    )


def as_text(truth: np.ndarray, predicted: np.ndarray) -> str:
    """How large the errors are, in the table's unit, for the terminal."""
    errors, scores = np.abs(predicted - truth), score(truth, predicted)
    half, most = np.quantile(errors, [0.5, 0.9])
    lines = {
        "mean absolute error": scores.mae,
        "root mean squared error": scores.rmse,
        "half of the rows are off by at most": half,
        "nine of ten by at most": most,
        "bias (mean of prediction minus truth)": (predicted - truth).mean(),
    }
    return "\n".join(f"{name:<38}{value:>11.4g}" for name, value in lines.items())


def _scatter(truth: np.ndarray, predicted: np.ndarray) -> Markup:
    """A point for each row, and the line on which all would lie."""
    drawn = axes("truth", "prediction")
    ends = [truth.min(), truth.max()]
    drawn.plot(ends, ends, color=GREY, linewidth=1)
    drawn.plot(truth, predicted, linestyle="", marker="o", markersize=3, markeredgewidth=0, color=BLUE, alpha=0.4)
    return svg(drawn)


def _histogram(truth: np.ndarray, predicted: np.ndarray) -> Markup:
    """How many rows are off by how much."""
    drawn = axes("prediction - truth", "rows")
    drawn.hist(predicted - truth, bins=40, color=BLUE, alpha=0.7)
    drawn.axvline(0, color=ORANGE, linewidth=1)
    return svg(drawn)


def _mistakes(truth: np.ndarray, predicted: np.ndarray, texts: Sequence[Text]) -> Table:
    """The 30 rows furthest off."""
    head = (Column("text", "text"), Column("truth"), Column("predicted"), Column("off by"))
    off = predicted - truth
    rows = [
        (beginning(joined(texts[row])), float(truth[row]), float(predicted[row]), float(off[row]))
        for row in np.argsort(-np.abs(off), kind="stable")[:30]
    ]
    return Table("Worst mistakes", "Furthest off first. Sometimes it is the truth that is wrong.", head, tuple(rows))
