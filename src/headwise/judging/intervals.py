"""Intervals: how far a metric may lie from what more rows like these would give.

Of a metric, the percentile bootstrap (Efron 1979): rows are drawn again with replacement, as many as there are, and the
metric taken each time. What classification counts depends only on how often each kind of row is drawn, so kinds are
drawn and not rows. Of a class, whose rows may be few, Wilson's interval (1927) of a share.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy

from headwise.judging.metrics import averages, counts, f1_scores, same

DRAWS = 1000
LEVEL = 0.95
AT_ONCE = 10_000_000  # numbers drawn at a time, for memory's sake


@dataclass(frozen=True)
class Interval:
    """Where the truth lies with a probability of LEVEL."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3f}–{self.high:.3f}"


@dataclass(frozen=True)
class ClassIntervals:
    """Those of one class's scores."""

    precision: Interval
    recall: Interval
    f1: Interval


def redrawn(
    scores: Callable[[np.ndarray], dict[str, float]], rows: int, draws: int = DRAWS, seed: int = 0
) -> dict[str, np.ndarray]:
    """Any metrics at all in every draw [draws]: scores makes them, by name, of row numbers [rows].

    As many rows are drawn alike, so that two models' scores on the same rows can be subtracted draw by draw.
    """
    generator = np.random.default_rng(seed)
    found = [scores(generator.integers(rows, size=rows)) for _ in range(draws)]
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def intervals(truth: np.ndarray, predicted: np.ndarray, classes: int, seed: int = 0) -> dict[str, Interval]:
    """Of each of METRICS; truth and predicted are [rows] or [rows, classes].

    Where no row is wrong, or none is right, drawing again may show nothing. What is the same in all draws is then as
    far from being lost, or gained, as the share of right rows is.
    """
    right = same(truth, predicted)
    (drawn,) = resampled(truth, predicted, classes=classes, seed=seed)
    found = {name: middle(values) for name, values in drawn.metrics.items()}
    of = share(int(right.sum()), len(right))
    for name, one in found.items():
        if one.low == one.high and right.all():
            found[name] = Interval(one.low * of.low, one.high)
        elif one.low == one.high and not right.any():
            found[name] = Interval(one.low, one.high + (1 - one.high) * of.high)
    return found


def class_intervals(truth: np.ndarray, predicted: np.ndarray, classes: int) -> list[ClassIntervals]:
    """Of each class's precision, recall and F1.

    F1 is 2 J / (1 + J) of the share J of rows with the class found, among those that have it or got it: its interval
    is that of J, so transformed.
    """
    found = []
    for right, given, support in zip(*(each.tolist() for each in counts(truth, predicted, classes)), strict=True):
        jaccard = share(right, given + support - right)
        f1 = Interval(2 * jaccard.low / (1 + jaccard.low), 2 * jaccard.high / (1 + jaccard.high))
        found.append(ClassIntervals(share(right, given), share(right, support), f1))
    return found


def share(count: int, rows: int) -> Interval:
    """Wilson's, of count out of rows; without rows, all there could be."""
    if not rows:
        return Interval(0.0, 1.0)
    found = scipy.stats.binomtest(int(count), int(rows)).proportion_ci(LEVEL, "wilson")
    return Interval(max(0.0, float(found.low)), min(1.0, float(found.high)))


def middle(values: np.ndarray) -> Interval:
    """The middle LEVEL of the values of all draws [draws]."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


@dataclass(frozen=True, eq=False)
class Drawn:
    """The scores of one set of answers in every draw."""

    metrics: dict[str, np.ndarray]  # by name: [draws]
    f1: np.ndarray = field(default_factory=lambda: np.empty((1, 0)))  # of each class, or type: [draws, classes]


def resampled(
    truth: np.ndarray, *answers: np.ndarray, classes: int, draws: int = DRAWS, seed: int = 0
) -> tuple[Drawn, ...]:
    """The scores of each of several answers to the same rows, all in the same draws of these."""
    _, first, times = np.unique(np.column_stack([truth, *answers]), axis=0, return_index=True, return_counts=True)
    counted = [_counted(truth[first], answer[first], classes) for answer in answers]
    parts = [[[drawn @ one for one in each] for each in counted] for drawn in times_drawn(times, draws, seed)]
    return tuple(
        _scores([np.concatenate(some) for some in zip(*each, strict=True)], len(truth))
        for each in zip(*parts, strict=True)
    )


def times_drawn(times: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each kind of row, there so many times [kinds], is drawn. Some draws at a time: [some, kinds]"""
    generator, step, rows = np.random.default_rng(seed), max(1, AT_ONCE // len(times)), int(times.sum())
    for start in range(0, draws, step):
        yield generator.multinomial(rows, times / rows, min(step, draws - start))


def _counted(truth: np.ndarray, answer: np.ndarray, classes: int) -> list[np.ndarray]:
    """What each kind of row, [kinds] or [kinds, classes], adds to what is right, given, true, exactly right."""
    is_true, is_given = (_indicators(each, classes) for each in (truth, answer))
    return [is_true * is_given, is_given, is_true, same(truth, answer)[:, None].astype(float)]


def _scores(sums: Sequence[np.ndarray], rows: int) -> Drawn:
    """The scores of such counts, added up over the rows of each draw [draws, classes]."""
    right, given, support, exact = sums
    return Drawn(averages(exact[:, 0] / rows, right, given, support), f1_scores(right, given, support))


def _indicators(answers: np.ndarray, classes: int) -> np.ndarray:
    """0 or 1 for every class [rows, classes]."""
    return np.asarray(answers, float) if answers.ndim == 2 else np.eye(classes)[answers]
