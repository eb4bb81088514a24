"""Comparison: whether one model's answers are better than another's on the same rows, or one cannot tell.

A difference is better or worse where it would come about by chance at most once in 20 times. For accuracy, and for each
class, McNemar's test says so, in its mid-p form (Fagerland et al. 2013, BMC Med Res Methodol 13:91); for the averages
of F1, the paired bootstrap. Many classes are many chances to be wrong: their p are raised by Holm's method (1979).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import binom

from headwise.errors import InputError, printable
from headwise.judging.intervals import LEVEL, Interval, middle, resampled
from headwise.judging.metrics import METRICS, Scores, same, score

Verdict = Literal["better", "worse", "cannot tell"]


@dataclass(frozen=True)
class Difference:
    """One score of the two models: second - first."""

    name: str
    first: float
    second: float
    interval: Interval  # of the difference, by the paired bootstrap
    p: float | None  # of McNemar's test, where it decides
    verdict: Verdict  # about the second

    @property
    def difference(self) -> float:
        """Above 0 the second is better."""
        return self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """The second model against the first, on the same rows."""

    rows: int
    only_first: int  # rows that only the first has right
    only_second: int
    metrics: tuple[Difference, ...]  # each of METRICS
    classes: tuple[Difference, ...]  # the F1 of each; p is of getting right whether a row has the class

    def named(self, metric: str) -> Difference:
        """The difference in one of METRICS."""
        return next(one for one in self.metrics if one.name == metric)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def as_text(self, metric: str, first: str, second: str) -> str:
        """The verdict by one of METRICS, a table of them all, and the classes where one can tell."""
        decides = self.named(metric)
        said = {"better": f"{second} is better than {first}", "worse": f"{second} is worse than {first}"}
        verdict = said.get(decides.verdict, f"one cannot tell whether {second} or {first} is better")
        told = [one for one in self.classes if one.verdict != "cannot tell"]
        return "\n".join(
            [
                f"{verdict}, by {METRICS[metric]} on {self.rows:,} rows",
                "",
                _HEAD,
                *(_line(one, METRICS[one.name]) for one in self.metrics),
                "",
                f"only {first} is right in {self.only_first:,} rows, only {second} in {self.only_second:,}",
                f"of {len(self.classes)} classes one can tell {len(told)}{':' if told else ''}",
                *([_HEAD] if told else []),
                *(_line(one, one.name) for one in sorted(told, key=lambda one: one.difference)),
            ]
        )


_HEAD = f"{'first':>7} {'second':>7} {'difference':>11}  {'95 % interval':^16} {'p':>7}  {'second is':<11}"


def _line(one: Difference, name: str) -> str:
    """A line of the table below _HEAD."""
    p = "" if one.p is None else f"{one.p:.4f}"
    interval = f"{one.interval.low:+.3f} {one.interval.high:+.3f}"
    numbers = f"{one.first:7.3f} {one.second:7.3f} {one.difference:+11.3f}  {interval:^16} {p:>7}"
    return f"{numbers}  {one.verdict:<11}  {printable(name)}"


def compare(
    truth: np.ndarray, first: np.ndarray, second: np.ndarray, labels: Sequence[str], seed: int = 0
) -> Comparison:
    """Two models' answers to the same rows, all [rows] or all [rows, classes]. Raises InputError without rows."""
    if not len(truth):
        raise InputError("there are no rows to compare on")
    scores = [score(truth, answers, labels) for answers in (first, second)]
    drawn = resampled(truth, first, second, classes=len(labels), seed=seed)
    only_first, only_second = _disagreements(same(truth, first), same(truth, second))
    return Comparison(
        rows=len(truth),
        only_first=int(only_first),
        only_second=int(only_second),
        metrics=tuple(
            _difference(
                name,
                (scores[0].named(name), scores[1].named(name)),
                middle(drawn[1].metrics[name] - drawn[0].metrics[name]),
                mcnemar(only_first, only_second) if name == "accuracy" else None,
                only_second - only_first,
            )
            for name in METRICS
        ),
        classes=_classes(truth, first, second, labels, scores, drawn[1].f1 - drawn[0].f1),
    )


def _classes(
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    labels: Sequence[str],
    scores: Sequence[Scores],
    drawn: np.ndarray,
) -> tuple[Difference, ...]:
    """Class by class: who better tells the rows that have it from those that have not. drawn: [draws, classes]"""
    has = [each if each.ndim == 2 else each[:, None] == np.arange(len(labels)) for each in (truth, first, second)]
    only_first, only_second = _disagreements(has[0] == has[1], has[0] == has[2])  # [classes]
    p = holm(mcnemar(only_first, only_second))
    f1 = [[one.per_class[label].f1 for label in labels] for one in scores]
    return tuple(
        _difference(label, (f1[0][i], f1[1][i]), middle(drawn[:, i]), p[i], (only_second - only_first)[i])
        for i, label in enumerate(labels)
    )


def _difference(name: str, values: tuple[float, float], interval: Interval, p: Any, sign: Any) -> Difference:
    """With its verdict: by p and the sign of the rows in favour where there is a p, else by the interval."""
    if p is None:
        sure, better = not interval.low <= 0 <= interval.high, values[1] > values[0]
    else:
        sure, better = p < 1 - LEVEL, sign > 0
    verdict: Verdict = "cannot tell" if not sure else "better" if better else "worse"
    return Difference(name, *values, interval, None if p is None else float(p), verdict)


def _disagreements(first: np.ndarray, second: np.ndarray) -> tuple[Any, Any]:
    """How many rows only the first has right, and only the second. [rows …] -> […]"""
    return (first & ~second).sum(axis=0), (second & ~first).sum(axis=0)


def mcnemar(only_first: np.ndarray, only_second: np.ndarray) -> np.ndarray:
    """The mid-p of rows that only one of two has right, which are equally likely each way by chance. […] -> […]"""
    fewer, both = np.minimum(only_first, only_second), only_first + only_second
    return np.asarray(2 * binom.cdf(fewer, both, 0.5) - binom.pmf(fewer, both, 0.5))


def holm(p: np.ndarray) -> np.ndarray:
    """Raised so that below 5 % there is one by chance at most once in 20 families of tests. [tests] -> [tests]"""
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(raised, 1)[np.argsort(order)]
