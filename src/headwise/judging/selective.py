"""Selective prediction: answer only where confident enough that, of what is answered, few answers are wrong.

The threshold is found on held-out rows so that a bound on the error, and not just the error seen there, is kept with a
probability of SURE (Geifman & El-Yaniv 2017, arXiv:1705.08500; Learn then Test, Angelopoulos et al. 2021,
arXiv:2110.01052): of the n most confident rows wrong ones are binomial, so Clopper and Pearson's (1934) bound is exact
for any n fixed beforehand. STEPS of them are tried, each with its share of the risk.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy

from headwise.errors import InputError

SURE = 0.95
STEPS = 10  # answer a tenth of the rows, two tenths, …


@dataclass(frozen=True)
class Rule:
    """When to answer, and what was promised of it."""

    threshold: float  # answer where the confidence is above it
    most_error: float  # share of the answers that may be wrong
    rows: int  # it was found on
    answered: int  # of these
    wrong: int  # of the answered
    bound: float  # on the share that is wrong, with a probability of SURE


def rule(confidence: np.ndarray, wrong: np.ndarray, most_error: float) -> Rule:
    """The one that answers most, from confidences and whether answers are wrong, both [rows].

    Raises InputError where no threshold can be promised to keep the error.
    """
    if not 0 < most_error < 1:
        raise InputError(f"the error to keep is {most_error:g}, expected a share between 0 and 1, such as 0.02")
    falling = np.append(-np.sort(-confidence), 0.0)  # after the last row: nothing lies below
    tried = [_tried(confidence, wrong, float(falling[len(confidence) * step // STEPS])) for step in range(STEPS, 0, -1)]
    for threshold, answered, mistakes, bound in tried:
        if bound <= most_error:
            return Rule(threshold, most_error, len(confidence), answered, mistakes, bound)
    needed = math.ceil(math.log((1 - SURE) / STEPS) / math.log(1 - most_error))
    raise InputError(
        f"no threshold keeps the error at {most_error:.2%} on these {len(confidence):,} rows: the lowest bound is "
        f"{min(bound for *_, bound in tried):.2%}; give more rows (even without a mistake it takes {needed:,} answered "
        "ones), or allow more"
    )


def _tried(confidence: np.ndarray, wrong: np.ndarray, threshold: float) -> tuple[float, int, int, float]:
    """A threshold, how many rows it answers, how many of them wrong, and the bound on their share."""
    kept = confidence > threshold
    answered, mistakes = int(kept.sum()), int(wrong[kept].sum())
    right = answered - mistakes
    bound = float(scipy.stats.beta.ppf(1 - (1 - SURE) / STEPS, mistakes + 1, right)) if right else 1.0
    return threshold, answered, mistakes, bound


@dataclass(frozen=True)
class Selection:
    """What a threshold does on rows whose truth is known."""

    rows: int
    answered: int
    wrong: int  # of the answered

    @property
    def coverage(self) -> float:
        """Share of rows that are answered."""
        return self.answered / self.rows

    @property
    def error(self) -> float:
        """Share of answers that are wrong; 0 where there is none."""
        return self.wrong / max(self.answered, 1)


def selection(answered: np.ndarray, wrong: np.ndarray) -> Selection:
    """From whether each row was answered, and whether its answer is wrong, both [rows]."""
    return Selection(len(wrong), int(answered.sum()), int(wrong[answered].sum()))
