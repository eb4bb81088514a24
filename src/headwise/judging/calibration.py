"""Calibration: whether an answer given with 90 % confidence is right nine times in ten, and how to make it so.

Dividing logits by one number fitted on rows that training did not see (temperature scaling, Guo et al. 2017,
arXiv:1706.04599, section 4.2) changes no answer, only how sure it is. Truth is class numbers [rows], where a row's
confidence is that of its likeliest class, or 0 and 1 [rows, classes], where every probability counts by itself.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy

from headwise.judging.plots import BLUE, GREY, ORANGE, axes, svg
from headwise.judging.sections import Plot

BINS = 15  # of equal width, as in the paper
COLDEST, HOTTEST = 0.05, 20.0


@dataclass(frozen=True)
class Bin:
    """The rows whose confidence lies in one of BINS."""

    rows: int
    confidence: float  # mean
    right: float  # share


@dataclass(frozen=True)
class Calibration:
    """How far confidence and truth lie apart."""

    ece: float  # expected calibration error: the mean over rows of their bin's |right - confidence|
    brier: float  # mean squared error of the probabilities, summed over classes that exclude each other
    bins: tuple[Bin, ...]  # those with rows, from the least confident


@dataclass(frozen=True)
class Calibrated:
    """What dividing the logits by a temperature did for calibration."""

    temperature: float
    before: Calibration
    after: Calibration

    def __str__(self) -> str:
        now = f"expected calibration error {self.after.ece:.3f} ({BINS} equal bins), Brier {self.after.brier:.3f}"
        if self.temperature == 1:
            return f"{now}; temperature 1"
        was = f"{self.before.ece:.3f} and {self.before.brier:.3f}"
        limit = min(self.temperature / COLDEST, HOTTEST / self.temperature) < 1.01
        remark = ", which is as far as it goes: how sure the model is says little" if limit else ""
        return f"{now}; {was} without its temperature of {self.temperature:.2f}{remark}"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def section(self) -> Plot:
        """The reliability diagram."""
        drawn = axes("confidence", "share that is right")
        drawn.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="as sure as right")
        shown = [("before", self.before, ORANGE)] if self.temperature != 1 else []
        for name, one, color in [*shown, ("calibrated", self.after, BLUE)]:
            points = [(bin.confidence, bin.right) for bin in one.bins]
            sizes = [10 + 60 * math.sqrt(bin.rows / max(bin.rows for bin in one.bins)) for bin in one.bins]
            drawn.plot(*zip(*points, strict=True), color=color, linewidth=1.5, label=name)
            drawn.scatter(*zip(*points, strict=True), s=sizes, color=color, alpha=0.7, linewidth=0)
        said = str(self)
        hint = (
            f"Below the dotted line it is surer than right; larger points hold more rows. {said[0].upper()}{said[1:]}."
        )
        return Plot("Calibration", hint, svg(drawn))


def temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """What to divide logits [rows, classes] by for the lowest loss on these rows.

    1 where no answer is wrong: such rows would have confidence grow without end.
    """
    logits = logits.astype(np.float64)
    wrong = (logits > 0) != (truth == 1) if truth.ndim == 2 else logits.argmax(1) != truth
    if not wrong.any():
        return 1.0
    bounds = np.log([COLDEST, HOTTEST])
    found = scipy.optimize.minimize_scalar(
        lambda log: log_loss(logits / np.exp(log), truth), bounds=bounds, method="bounded"
    )
    return float(np.exp(found.x))


def log_loss(logits: np.ndarray, truth: np.ndarray) -> float:
    """Cross-entropy: of a softmax, or of a sigmoid for each class. [rows, classes] -> mean"""
    if truth.ndim == 2:
        return float((np.logaddexp(0, logits) - logits * truth).mean())
    return float((scipy.special.logsumexp(logits, axis=1) - logits[np.arange(len(truth)), truth]).mean())


def calibration(probabilities: np.ndarray, truth: np.ndarray) -> Calibration:
    """Of probabilities [rows, classes]."""
    if truth.ndim == 2:
        confidence, right = probabilities.ravel(), truth.ravel() == 1
        brier = float(((probabilities - truth) ** 2).mean())
    else:
        confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
        hit = probabilities[np.arange(len(truth)), truth]  # (1 - hit)² for the true class, p² for all others
        brier = float((1 - 2 * hit + (probabilities**2).sum(axis=1)).mean())
    bins = reliability(confidence, right)
    ece = sum(one.rows * abs(one.right - one.confidence) for one in bins) / len(confidence)
    return Calibration(ece, brier, bins)


def reliability(confidence: np.ndarray, right: np.ndarray) -> tuple[Bin, ...]:
    """The points of a reliability diagram, from confidences and whether they were right, both [rows]."""
    place = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    rows, sums, hits = (np.bincount(place, weights, BINS) for weights in (None, confidence, right))
    return tuple(Bin(int(rows[i]), float(sums[i] / rows[i]), float(hits[i] / rows[i])) for i in np.flatnonzero(rows))
