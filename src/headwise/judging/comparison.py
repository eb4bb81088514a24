"""Comparison: whether one model's answers are better than another's on the same rows, or one cannot tell.

A difference is better or worse where it would come about by chance at most once in 20 times. For accuracy, and for each
class, McNemar's test says so, in its mid-p form (Fagerland et al. 2013, BMC Med Res Methodol 13:91); for all other
scores, the paired bootstrap, and for types of entity the normal approximation of it. Many classes are many chances to
be wrong: their p are raised by Holm's method (1979), and the interval of the F1 has to say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import scipy

from headwise.errors import printable
from headwise.judging.intervals import LEVEL, Drawn, Interval, middle
from headwise.judging.metrics import Scored, same

Verdict = Literal["better", "worse", "cannot tell"]


@dataclass(frozen=True)
class Difference:
    """One score of the two models: second - first."""

    name: str
    title: str  # how the name is written for a reader
    first: float
    second: float
    interval: Interval  # of the difference, by the paired bootstrap
    p: float | None  # where a test decides and not the interval
    verdict: Verdict  # about the second

    @property
    def difference(self) -> float:
        """Above 0 the second has more, which is better, but of errors."""
        return self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """The second model against the first, on the same rows."""

    rows: int
    metric: str  # the one that decides
    only_first: int | None  # rows that only the first has right; None where rows are not right or wrong
    only_second: int | None
    metrics: tuple[Difference, ...]
    classes: tuple[Difference, ...]  # the F1 of each class, or type of entity

    def named(self, metric: str) -> Difference:
        """The difference in a metric."""
        return next(one for one in self.metrics if one.name == metric)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    def as_text(self, first: str, second: str) -> str:
        """The verdict, a table of all metrics, and the classes where one can tell."""
        decides = self.named(self.metric)
        said = {"better": f"{second} is better than {first}", "worse": f"{second} is worse than {first}"}
        verdict = said.get(decides.verdict, f"one cannot tell whether {second} or {first} is better")
        lines = [f"{verdict}, by {decides.title} on {self.rows:,} rows", "", _HEAD, *map(_line, self.metrics)]
        if self.only_first is not None:
            lines += ["", f"only {first} is right in {self.only_first:,} rows, only {second} in {self.only_second:,}"]
        if self.classes:
            told = [one for one in self.classes if one.verdict != "cannot tell"]
            lines += ["", f"of {len(self.classes)} classes one can tell {len(told)}{':' if told else ''}"]
            lines += [_HEAD] if told else []
            lines += map(_line, sorted(told, key=lambda one: one.difference))
        return "\n".join(lines)


_HEAD = f"{'first':>7} {'second':>7} {'difference':>11}  {'95 % interval':^16} {'p':>7}  {'second is':<11}"


def _line(one: Difference) -> str:
    """A line of the table below _HEAD."""
    p = "" if one.p is None else f"{one.p:.4f}"
    interval = f"{one.interval.low:+.3f} {one.interval.high:+.3f}"
    numbers = f"{one.first:7.3f} {one.second:7.3f} {one.difference:+11.3f}  {interval:^16} {p:>7}"
    return f"{numbers}  {one.verdict:<11}  {printable(one.title)}"


@dataclass(frozen=True, eq=False)
class Tested:
    """How many rows only one of two has right: wholly, and as to whether they have each class [classes]."""

    only_first: int
    only_second: int
    classes_first: np.ndarray
    classes_second: np.ndarray

    @staticmethod
    def of(truth: np.ndarray, first: np.ndarray, second: np.ndarray, classes: int) -> Tested:
        """From answers to the same rows, all [rows] or all [rows, classes]."""
        has = [each if each.ndim == 2 else each[:, None] == np.arange(classes) for each in (truth, first, second)]
        rows = _disagreements(same(truth, first), same(truth, second))
        classes_first, classes_second = _disagreements(has[0] == has[1], has[0] == has[2])
        return Tested(int(rows[0]), int(rows[1]), classes_first, classes_second)


def compare(
    metric: str,
    metrics: Mapping[str, str],
    scores: tuple[Scored, Scored],
    drawn: Sequence[Drawn],
    tested: Tested | None = None,
    errors: Mapping[str, str] | None = None,
) -> Comparison:
    """Two models' scores on the same rows, and the same where rows are drawn again, both in the same draws.

    metric: the one that decides. metrics: names of scores of which more is better, and how they are written; errors:
    of which less is. tested: for classifiers, whose accuracy and classes McNemar's test decides.
    """
    found = []
    values = [one.as_dict() | {name: one.named(name) for name in metrics} for one in scores]
    for name, title in (dict(metrics) | dict(errors or {})).items():
        test = None if tested is None or name != "accuracy" else (tested.only_first, tested.only_second)
        p, sign = (None, 0) if test is None else (mcnemar(*map(np.asarray, test)), test[1] - test[0])
        interval = middle(drawn[1].metrics[name] - drawn[0].metrics[name])
        pair = float(values[0][name]), float(values[1][name])
        found.append(_difference(name, title, pair, interval, p, sign, less=name in (errors or {})))
    return Comparison(
        scores[0].rows,
        metric,
        None if tested is None else tested.only_first,
        None if tested is None else tested.only_second,
        tuple(found),
        _classes(scores, drawn, tested),
    )


def _classes(scores: tuple[Scored, Scored], drawn: Sequence[Drawn], tested: Tested | None) -> tuple[Difference, ...]:
    """Class by class: who better tells the rows that have it from those that have not, and has the higher F1, too.

    Where each row is not right or wrong, as with entities, by F1 alone.
    """
    first, second = (one.parts for one in scores)
    if not first:
        return ()
    f1 = np.array([[first[name].f1, second[name].f1] for name in first])  # [classes 2]
    redrawn = drawn[1].f1 - drawn[0].f1  # [draws classes]
    if tested is None:
        sign = f1[:, 1] - f1[:, 0]
        spread = redrawn.std(0)
        p = np.where(spread > 0, 2 * scipy.stats.norm.sf(np.abs(sign) / np.maximum(spread, 1e-12)), 1.0)
    else:
        sign = tested.classes_second - tested.classes_first
        p = mcnemar(tested.classes_first, tested.classes_second)
    intervals = [middle(one) for one in redrawn.T]
    clear = np.array([float(one.low > 0) - float(one.high < 0) for one in intervals])
    raised, agreed = holm(p), clear * (np.sign(sign) == clear)  # a rare class may be found more, and be wrong more
    return tuple(
        _difference(name, name, (f1[i, 0], f1[i, 1]), intervals[i], raised[i], agreed[i])
        for i, name in enumerate(first)
    )


def _difference(
    name: str, title: str, values: tuple[float, float], interval: Interval, p: Any, sign: Any, less: bool = False
) -> Difference:
    """With its verdict: by p and the sign of what is in favour (0: of none) where there is a p, else by the interval.
    less: less is better."""
    if p is None:
        sure, better = not interval.low <= 0 <= interval.high, (values[1] > values[0]) != less
    else:
        sure, better = p < 1 - LEVEL and sign != 0, sign > 0
    verdict: Verdict = "cannot tell" if not sure else "better" if better else "worse"
    return Difference(
        name, title, float(values[0]), float(values[1]), interval, None if p is None else float(p), verdict
    )


def _disagreements(first: np.ndarray, second: np.ndarray) -> tuple[Any, Any]:
    """How many rows only the first has right, and only the second. [rows …] -> […]"""
    return (first & ~second).sum(axis=0), (second & ~first).sum(axis=0)


def mcnemar(only_first: np.ndarray, only_second: np.ndarray) -> np.ndarray:
    """The mid-p of rows that only one of two has right, which are equally likely each way by chance. […] -> […]"""
    fewer, both = np.minimum(only_first, only_second), only_first + only_second
    return np.asarray(2 * scipy.stats.binom.cdf(fewer, both, 0.5) - scipy.stats.binom.pmf(fewer, both, 0.5))


def holm(p: np.ndarray) -> np.ndarray:
    """Raised so that below 5 % there is one by chance at most once in 20 families of tests. [tests] -> [tests]"""
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(raised, 1)[np.argsort(order)]
