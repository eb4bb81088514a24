"""The report of one evaluation: as text for the terminal, as numbers for metrics.json, as a page for report.html."""

import io
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from headwise.errors import printable
from headwise.judging.baselines import Text, joined
from headwise.judging.metrics import METRICS, Scores, classification_report, confusion, counts

BLUE, ORANGE, GREY = "#3b7dd8", "#e07b39", "#868e96"  # legible on white and on near-black


@dataclass(frozen=True, eq=False)
class Verdict:
    """One row of the comparison: a baseline, or the model after fine-tuning."""

    name: str
    scores: Scores
    seconds: float  # to train and predict
    predicted: np.ndarray  # [rows], or [rows, classes] of 0 and 1


@dataclass(frozen=True, eq=False)
class Report:
    """Everything a reader is told about one evaluation."""

    title: str  # 'text-classification: reviews.csv'
    facts: tuple[tuple[str, str], ...]  # ('model', 'minilm'), ('rows', '12,000'), …
    notes: tuple[str, ...]  # what was guessed, found, cut
    labels: tuple[str, ...]
    verdicts: tuple[Verdict, ...]  # the weakest first, the model after fine-tuning last
    truth: np.ndarray  # [rows], or [rows, classes] of 0 and 1
    probabilities: np.ndarray  # [rows, classes], of the last verdict
    texts: Sequence[Text]  # [rows]
    history: tuple[dict[str, float], ...]  # {'step', 'loss', …} and, at evaluations, {'step', 'valid_loss', 'valid_…'}
    split: str = "test"  # which rows these are
    metric: str = "accuracy"  # the one in the headline, a key of METRICS

    @property
    def predicted(self) -> np.ndarray:
        """The predictions of the last verdict."""
        return self.verdicts[-1].predicted

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON without the texts; with the confusion matrix (see `metrics.confusion`) for up to 200 classes."""
        numbers: dict[str, Any] = {
            "title": self.title,
            "split": self.split,
            "metric": self.metric,
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "labels": list(self.labels),
            "verdicts": [
                {"name": verdict.name, "seconds": verdict.seconds, **verdict.scores.as_dict()}
                for verdict in self.verdicts
            ],
            # JSON knows no NaN, and a loss can be one
            "history": [{k: v if math.isfinite(v) else None for k, v in line.items()} for line in self.history],
        }
        if len(self.labels) <= 200:
            numbers["confusion_matrix"] = confusion(self.truth, self.predicted, len(self.labels)).tolist()
        return numbers


def as_text(report: Report) -> str:
    """The report for the terminal: headline, comparison, and class by class the last baseline and the final model."""
    parts = [printable(report.title), headline(report), *cautions(report), _comparison(report)]
    parts += [f"{printable(verdict.name)}\n\n{_classes(report, verdict)}" for verdict in report.verdicts[-2:]]
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
    environment.filters["duration"] = _duration
    return environment.get_template("report.html.j2").render(
        report=report,
        headline=headline(report),
        cautions=cautions(report),
        metrics={metric: METRICS[metric] for metric in _columns(report)},
        curves=_curves(report.history),
        matrix=_matrix(report) if report.truth.ndim == 1 and len(report.labels) <= 25 else None,
        heat_map=_heat_map(report) if report.truth.ndim == 1 and len(report.labels) > 25 else None,
        pairs=_confused_pairs(report) if report.truth.ndim == 1 and len(report.labels) > 25 else [],
        classes=_class_rows(report),
        mistakes=_mistakes(report),
        wrong_rows=int(_wrong(report).sum()),
    )


def headline(report: Report) -> str:
    """'accuracy 0.930 on 1,200 test rows; before fine-tuning 0.860; majority class 0.510'"""
    last, *earlier = reversed(report.verdicts)
    scores = f"{METRICS[report.metric]} {last.scores.named(report.metric):.3f}"
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


def _columns(report: Report) -> list[str]:
    """The metrics worth a column, the headline's first. With a single label, micro F1 is accuracy once more."""
    metrics = METRICS if report.truth.ndim == 2 else [name for name in METRICS if name != "micro_f1"]
    return [report.metric, *(name for name in metrics if name != report.metric)]


def _comparison(report: Report) -> str:
    """A line of numbers for every verdict, its name last, where its length does no harm."""
    metrics = _columns(report)
    lines = ["  ".join([*(f"{METRICS[name]:>11}" for name in metrics), f"{'time':>12}"])]
    for verdict in report.verdicts:
        numbers = [f"{verdict.scores.named(name):11.3f}" for name in metrics]
        lines.append("  ".join([*numbers, f"{_duration(verdict.seconds):>12}", printable(verdict.name)]))
    return "\n".join(lines)


def _classes(report: Report, verdict: Verdict) -> str:
    """The classification report; of more than 30 classes, only the ten with the lowest F1."""
    labels = [printable(label) for label in report.labels]
    text = classification_report(report.truth, verdict.predicted, labels)
    if len(labels) <= 30:
        return text
    f1 = [scores.f1 for scores in verdict.scores.per_class.values()]
    lines = text.split("\n")  # a header, an empty line, the classes, and the averages
    worst = [lines[2 + number] for number in np.argsort(f1, kind="stable")[:10]]
    said = f"(the 10 of {len(labels)} classes with the lowest F1; all of them are in metrics.json)"
    return "\n".join([*lines[:2], *worst, *lines[2 + len(labels) :]]).rstrip("\n") + "\n" + said


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix."""

    rows: int
    shade: float  # 0 to 1, how strongly it is coloured
    right: bool


@dataclass(frozen=True)
class Pair:
    """One class taken for another."""

    truth: str
    predicted: str
    rows: int
    share: float  # of the rows that are truly `truth`


@dataclass(frozen=True)
class ClassRow:
    """One class: its scores, and the rows in which it was found, missed and wrongly given."""

    label: str
    scores: Any
    found: int
    missed: int
    wrong: int


@dataclass(frozen=True)
class Mistake:
    """One wrong answer."""

    text: str
    truth: str
    predicted: str
    confidence: float


def _matrix(report: Report) -> list[tuple[str, list[Cell]]]:
    """The confusion matrix, a label and its cells by row."""
    cells = confusion(report.truth, report.predicted, len(report.labels))
    shades = _shades(cells)
    return [
        (label, [Cell(int(cells[i, j]), float(shades[i, j]), i == j) for j in range(len(cells))])
        for i, label in enumerate(report.labels)
    ]


def _shades(cells: np.ndarray) -> np.ndarray:
    """How strongly to colour a confusion matrix: the root of each cell's share of its row, so that a few are seen."""
    return np.asarray(np.sqrt(cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)))


def _confused_pairs(report: Report) -> list[Pair]:
    """The 20 most frequent confusions of one class with another."""
    cells = confusion(report.truth, report.predicted, len(report.labels))
    support = cells.sum(axis=1)
    np.fill_diagonal(cells, 0)
    pairs = []
    for place in np.argsort(-cells, axis=None, kind="stable")[:20]:
        i, j = divmod(int(place), len(cells))
        if cells[i, j]:
            pairs.append(Pair(report.labels[i], report.labels[j], int(cells[i, j]), float(cells[i, j] / support[i])))
    return pairs


def _class_rows(report: Report) -> list[ClassRow]:
    """All classes, the lowest F1 first."""
    right, given, support = counts(report.truth, report.predicted, len(report.labels))
    numbers = zip(right.tolist(), (support - right).tolist(), (given - right).tolist(), strict=True)
    per_class = report.verdicts[-1].scores.per_class.items()
    rows = [ClassRow(label, scores, *three) for (label, scores), three in zip(per_class, numbers, strict=True)]
    return sorted(rows, key=lambda row: row.scores.f1)


def _wrong(report: Report) -> np.ndarray:
    """Whether a row's answer is wrong [rows]."""
    different = report.truth != report.predicted
    return np.asarray(different if different.ndim == 1 else different.any(axis=1))


def _mistakes(report: Report) -> list[Mistake]:
    """The 30 wrong answers given with the most confidence; of a set of labels its most confident mistake counts."""
    truth, predicted, probabilities = report.truth, report.predicted, report.probabilities
    if truth.ndim == 1:
        confidence = probabilities[np.arange(len(truth)), predicted]
    else:
        sure = np.where(predicted == 1, probabilities, 1 - probabilities)
        confidence = np.where(truth != predicted, sure, 0).max(axis=1)
    wrong = np.flatnonzero(_wrong(report))
    return [
        Mistake(
            text=_beginning(joined(report.texts[row])),
            truth=_answer(report.labels, truth[row]),
            predicted=_answer(report.labels, predicted[row]),
            confidence=float(confidence[row]),
        )
        for row in wrong[np.argsort(-confidence[wrong], kind="stable")][:30]
    ]


def _beginning(text: str) -> str:
    """At most 300 characters of a text."""
    return text if len(text) <= 300 else text[:299] + "…"


def _answer(labels: Sequence[str], answer: np.ndarray) -> str:
    """A class number, or the 0 and 1 of every class, in words."""
    if answer.ndim == 0:
        return labels[int(answer)]
    return ", ".join(label for label, given in zip(labels, answer, strict=True) if given) or "(none)"


def _curves(history: Sequence[dict[str, float]]) -> list[tuple[str, Markup]]:
    """Captions and plots by step: of the loss, and of the metrics taken while training, where there are any."""
    curves = []
    train, valid = _series(history, "loss"), _series(history, "valid_loss")
    if len(train) or len(valid):
        axes = _axes("loss")
        if len(train):
            axes.plot(*_thinned(train).T, color=BLUE, alpha=0.25, linewidth=1)
            axes.plot(*_thinned(_smoothed(train)).T, color=BLUE, linewidth=2, label="training (smoothed)")
        if len(valid):
            axes.plot(*valid.T, color=ORANGE, linewidth=2, marker="o", markersize=4, label="validation")
        curves.append(("Loss by step", _svg(axes)))
    names = sorted({key for line in history for key in line if key.startswith("valid_")} - {"valid_loss"})
    if names:
        axes = _axes("validation score")
        for name, color in zip(names, itertools.cycle([ORANGE, BLUE, GREY])):
            label = METRICS.get(name.removeprefix("valid_"), name)
            axes.plot(*_series(history, name).T, color=color, linewidth=2, marker="o", markersize=4, label=label)
        curves.append(("Validation score by step", _svg(axes)))
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


def _axes(quantity: str) -> Any:
    """Empty axes of a new figure, steps to the right, with nothing but what is needed to read them."""
    axes = Figure(figsize=(5, 3), layout="constrained").subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY, labelcolor=GREY)
    axes.grid(axis="y", color=GREY, alpha=0.2)
    axes.set_xlabel("step", color=GREY)
    axes.set_ylabel(quantity, color=GREY)
    return axes


def _heat_map(report: Report) -> Markup:
    """The confusion matrix as a picture, one point for a cell, the truth downwards."""
    axes = Figure(figsize=(5, 5), layout="constrained").subplots()
    colors = LinearSegmentedColormap.from_list("clear to blue", [f"{BLUE}00", f"{BLUE}ff"])
    cells = confusion(report.truth, report.predicted, len(report.labels))
    axes.imshow(_shades(cells), cmap=colors, vmin=0, vmax=1, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(GREY)
    axes.set_xlabel("predicted", color=GREY)
    axes.set_ylabel("truth", color=GREY)
    return _svg(axes)


def _svg(axes: Any) -> Markup:
    """The axes' figure as an <svg> element: text stays text, nothing refers to the outside, always the same bytes."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=GREY)
    target = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "headwise", "text.parse_math": False}):
        metadata = dict.fromkeys(["Creator", "Date", "Format", "Type"])
        axes.figure.savefig(target, format="svg", transparent=True, metadata=metadata)
    svg = target.getvalue()
    svg = svg[svg.index("<svg") :]  # without the XML prologue, which HTML does not know
    return Markup(re.sub(r' id="[\w.]+_\d+"', "", svg))  # numbered anew in every figure, and never referred to
