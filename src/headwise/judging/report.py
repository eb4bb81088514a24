"""The report of one evaluation: as text for the terminal, as numbers for metrics.json, as a page for report.html."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from headwise.errors import printable
from headwise.judging.intervals import Interval
from headwise.judging.metrics import Scored
from headwise.judging.plots import BLUE, GREY, ORANGE, axes, svg
from headwise.judging.sections import Findings


@dataclass(frozen=True, eq=False)
class Verdict:
    """One row of the comparison: a baseline, or the model after fine-tuning."""

    name: str
    scores: Scored
    seconds: float  # to train and predict
    intervals: Mapping[str, Interval] = field(default_factory=dict)  # of those metrics that have one


@dataclass(frozen=True, eq=False)
class Report:
    """Everything a reader is told about one evaluation, of whatever task."""

    title: str  # 'text-classification: reviews.csv'
    facts: tuple[tuple[str, str], ...]  # ('model', 'minilm'), ('rows', '12,000'), …
    notes: tuple[str, ...]  # what was guessed, found, cut
    metrics: Mapping[str, str]  # those to show, by the names the scores know, and how they are written for a reader
    metric: str  # the one in the headline, a key of metrics; the higher the better
    verdicts: tuple[Verdict, ...]  # the weakest first, the model after fine-tuning last
    history: tuple[dict[str, float], ...]  # {'step', 'loss', …} and, at evaluations, {'step', 'valid_loss', 'valid_…'}
    split: str = "test"  # which rows these are
    findings: Findings = Findings()  # of the task
    breakdown: tuple[tuple[str, str], ...] = ()  # for the terminal: names, and text that is laid out already

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON without the texts."""
        return {
            "title": self.title,
            "split": self.split,
            "metric": self.metric,
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "verdicts": [_numbers(verdict) for verdict in self.verdicts],
            # JSON knows no NaN, and a loss can be one
            "history": [{k: v if math.isfinite(v) else None for k, v in line.items()} for line in self.history],
            **self.findings.numbers,
        }


def _numbers(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON."""
    intervals = {name: [one.low, one.high] for name, one in verdict.intervals.items()}
    return {
        "name": verdict.name,
        "seconds": verdict.seconds,
        **verdict.scores.as_dict(),
        "intervals": intervals,
    }


def as_text(report: Report) -> str:
    """The report for the terminal: headline, comparison, and what is to be said in more detail."""
    parts = [printable(report.title), headline(report), *cautions(report), _comparison(report)]
    parts += [f"{printable(name)}\n\n{text}" for name, text in report.breakdown]
    parts += ["\n".join(map(printable, said.split("\n"))) for said in report.findings.said]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def as_html(report: Report) -> str:
    """The report as one page that needs nothing from outside itself."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("headwise.judging", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # a lone surrogate, of a file's name or a text, could not be written to a file
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {"duration": _duration, "cell": _cell, "share": _share}
    return environment.get_template("report.html.j2").render(
        report=report,
        headline=headline(report),
        cautions=cautions(report),
        columns=_columns(report),
        curves=_curves(report),
    )


def headline(report: Report) -> str:
    """'accuracy 0.930 (0.915–0.944) on 1,200 test rows; before fine-tuning 0.860; majority class 0.510'"""
    last, *earlier = reversed(report.verdicts)
    scores = f"{report.metrics[report.metric]} {last.scores.named(report.metric):.3f}"
    if report.metric in last.intervals:
        scores += f" ({last.intervals[report.metric]})"
    compared = [f"{_short(verdict)} {verdict.scores.named(report.metric):.3f}" for verdict in earlier]
    return "; ".join([f"{scores} on {last.scores.rows:,} {report.split} rows", *compared])


def cautions(report: Report) -> list[str]:
    """A sentence for every baseline that fine-tuning did not beat."""
    *baselines, last = report.verdicts
    reached = last.scores.named(report.metric)
    return [
        f"Fine-tuning did not beat this baseline: {_short(verdict)}."
        for verdict in baselines
        if verdict.scores.named(report.metric) >= reached
    ]


def _short(verdict: Verdict) -> str:
    """The verdict's name without what stands in brackets."""
    return printable(verdict.name).split(" (")[0]


def _duration(seconds: float) -> str:
    """'0.4 s', '12 s', '3 min 20 s' or '2 h 5 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _cell(value: str | float) -> str:
    """A cell of a table: three decimals where there are any."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _share(value: float) -> float:
    """What a bar can show of a number: from 0 to 1."""
    return min(max(value, 0.0), 1.0)


def _columns(report: Report) -> list[str]:
    """The metrics to show, the headline's first."""
    return [report.metric, *(name for name in report.metrics if name != report.metric)]


def _comparison(report: Report) -> str:
    """A line of numbers for every verdict, its name last, where its length does no harm; below it their intervals."""
    metrics = _columns(report)
    heads = [f"{report.metrics[name]:>11}" for name in metrics]
    lines = ["  ".join([*heads, f"{'time':>12}"])]
    for verdict in report.verdicts:
        scores = [verdict.scores.named(name) for name in metrics]
        numbers = [f"{score:{len(head)}.3f}" for head, score in zip(heads, scores, strict=True)]
        lines.append("  ".join([*numbers, f"{_duration(verdict.seconds):>12}", printable(verdict.name)]))
        if verdict.intervals:
            pairs = zip(heads, metrics, strict=True)
            spans = [f"{verdict.intervals.get(name, '')!s:>{len(head)}}" for head, name in pairs]
            lines.append("  ".join([*spans, f"{'95 %':>12}"]))
    return "\n".join(lines)


def _curves(report: Report) -> list[tuple[str, Markup]]:
    """Captions and plots by step: of the loss, and of the metrics taken while training, where there are any."""
    curves, history = [], report.history
    train, valid = _series(history, "loss"), _series(history, "valid_loss")
    if len(train) or len(valid):
        loss = axes("step", "loss")
        if len(train):
            loss.plot(*_thinned(train).T, color=BLUE, alpha=0.25, linewidth=1)
            loss.plot(*_thinned(_smoothed(train)).T, color=BLUE, linewidth=2, label="training (smoothed)")
        if len(valid):
            loss.plot(*valid.T, color=ORANGE, linewidth=2, marker="o", markersize=4, label="validation")
        curves.append(("Loss by step", svg(loss)))
    names = sorted({key for line in history for key in line if key.startswith("valid_")} - {"valid_loss"})
    if names:
        scores = axes("step", "validation score")
        for name, color in zip(names, itertools.cycle([ORANGE, BLUE, GREY])):
            label = report.metrics.get(name.removeprefix("valid_"), name)
            scores.plot(*_series(history, name).T, color=color, linewidth=2, marker="o", markersize=4, label=label)
        curves.append(("Validation score by step", svg(scores)))
    return curves


def _series(history: Sequence[dict[str, float]], name: str) -> np.ndarray:
    """Steps and finite values of one quantity [points, 2]."""
    points = [(line["step"], line[name]) for line in history if math.isfinite(line.get(name, math.nan))]
    return np.array(points, dtype=float).reshape(-1, 2)


def _smoothed(series: np.ndarray) -> np.ndarray:
    """The mean over a window of a twentieth of the points around each."""
    window = np.ones(max(1, len(series) // 20))
    inside = np.convolve(np.ones(len(series)), window, mode="same")  # fewer points at the ends
    return np.column_stack([series[:, 0], np.convolve(series[:, 1], window, mode="same") / inside])


def _thinned(series: np.ndarray) -> np.ndarray:
    """At most 1,000 of the points, evenly spread: more could not be seen."""
    return np.asarray(series[np.linspace(0, len(series) - 1, min(len(series), 1000)).astype(int)])
