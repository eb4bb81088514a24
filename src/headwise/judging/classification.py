"""What a report says of classes: confusions, class by class, the worst mistakes.

Truth and predictions are integers, [rows] for a single label or [rows, classes] of 0 and 1 for multi-label.
"""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from markupsafe import Markup

from headwise.errors import printable
from headwise.judging.baselines import Text, joined
from headwise.judging.calibration import Calibrated
from headwise.judging.intervals import class_intervals
from headwise.judging.metrics import METRICS, Scores, classification_report, confusion, counts, score
from headwise.judging.plots import BLUE, GREY, svg
from headwise.judging.sections import Cell, Column, Findings, Matrix, Plot, Section, Table, beginning


def metrics(multi_label: bool, metric: str) -> dict[str, str]:
    """The metrics worth a column. With a single label, micro F1 is accuracy once more, shown where it is `metric`."""
    left_out = "micro_f1" if not multi_label and metric != "micro_f1" else None
    return {name: said for name, said in METRICS.items() if name != left_out}


def findings(
    labels: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,  # [rows, classes]
    predicted: np.ndarray,
    texts: Sequence[Text],  # [rows]
    scores: Scores,
    calibrated: Calibrated,
) -> Findings:
    """Confusions, where a row has one label; class by class; calibration; the worst mistakes.

    The matrix for up to 200 labels.
    """
    cells = confusion(truth, predicted, len(labels))
    shown = () if truth.ndim == 2 else _confusions(labels, cells)
    mistakes = _mistakes(labels, truth, probabilities, predicted, texts)
    several = "A row can have several labels; accuracy is the share of rows with exactly the right set."
    return Findings(
        "" if truth.ndim == 1 else several,
        (*shown, _class_by_class(truth, predicted, scores), calibrated.section(), mistakes),
        {
            "labels": list(labels),
            "class_intervals": dict(
                zip(labels, map(asdict, class_intervals(truth, predicted, len(labels))), strict=True)
            ),
            "calibration": calibrated.as_dict(),
            **({"confusion_matrix": cells.tolist()} if len(labels) <= 200 else {}),
        },
        (f"calibration: {calibrated}",),
    )


def as_text(labels: Sequence[str], truth: np.ndarray, predicted: np.ndarray) -> str:
    """The classification report; of more than 30 classes, only the ten with the lowest F1."""
    text = classification_report(truth, predicted, [printable(label) for label in labels])
    if len(labels) <= 30:
        return text
    f1 = [scores.f1 for scores in score(truth, predicted, labels).per_class.values()]
    lines = text.split("\n")  # a header, an empty line, the classes, and the averages
    worst = [lines[2 + number] for number in np.argsort(f1, kind="stable")[:10]]
    said = f"(the 10 of {len(labels)} classes with the lowest F1; all of them are in metrics.json)"
    return "\n".join([*lines[:2], *worst, *lines[2 + len(labels) :]]).rstrip("\n") + "\n" + said


def _confusions(labels: Sequence[str], cells: np.ndarray) -> tuple[Section, ...]:
    """The confusion matrix; of more than 25 classes, the commonest confusions and the matrix as a picture."""
    if len(labels) <= 25:
        return (_matrix(labels, cells),)
    hint = f"All {len(labels)} classes in the order of the labels: right answers lie on the diagonal."
    return _pairs(labels, cells), Plot("Confusion matrix", hint, _heat_map(cells))


def _matrix(labels: Sequence[str], cells: np.ndarray) -> Matrix:
    """The confusion matrix, a label and its cells by row."""
    shades = _shades(cells)
    rows = [
        (label, tuple(Cell(int(cells[i, j]), float(shades[i, j]), i == j) for j in range(len(cells))))
        for i, label in enumerate(labels)
    ]
    hint = "Each line: the rows that truly have this class, by what they were taken for."
    return Matrix("Confusion matrix", hint, tuple(rows))


def _shades(cells: np.ndarray) -> np.ndarray:
    """How strongly to colour a confusion matrix: the root of each cell's share of its row, so that a few are seen."""
    return np.asarray(np.sqrt(cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)))


def _heat_map(cells: np.ndarray) -> Markup:
    """The confusion matrix as a picture, one point for a cell, the truth downwards."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    axes = Figure(figsize=(5, 5), layout="constrained").subplots()
    colors = LinearSegmentedColormap.from_list("clear to blue", [f"{BLUE}00", f"{BLUE}ff"])
    axes.imshow(_shades(cells), cmap=colors, vmin=0, vmax=1, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(GREY)
    axes.set_xlabel("predicted", color=GREY)
    axes.set_ylabel("truth", color=GREY)
    return svg(axes)


def _pairs(labels: Sequence[str], cells: np.ndarray) -> Table:
    """The 20 most frequent confusions of one class with another."""
    head = (Column("truth", "label"), Column("taken for", "label"), Column("rows"), Column("of this class"))
    wrong = cells * (1 - np.eye(len(cells), dtype=int))
    rows: list[tuple[str | float, ...]] = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:20]:
        i, j = divmod(int(place), len(cells))
        if wrong[i, j]:
            share = f"{100 * wrong[i, j] / cells[i].sum():.0f}%"
            rows.append((labels[i], labels[j], int(wrong[i, j]), share))
    hint = "The classes most often taken for another." if rows else "None: every row is right."
    return Table("Confusions", hint, head, tuple(rows))


def _class_by_class(truth: np.ndarray, predicted: np.ndarray, scores: Scores) -> Table:
    """All classes with their scores, and the rows in which each was found, missed and wrongly given."""
    plain = ("precision", "recall", "rows", "found", "missed", "wrongly given")
    head = (Column("class", "label"), Column("F1", "bar"), Column("95 %"), *map(Column, plain))
    right, given, support = counts(truth, predicted, len(scores.per_class))
    found = zip(right.tolist(), (support - right).tolist(), (given - right).tolist(), strict=True)
    rows = [
        (label, one.f1, str(span.f1), one.precision, one.recall, one.support, *three)
        for (label, one), span, three in zip(
            scores.per_class.items(), class_intervals(truth, predicted, len(scores.per_class)), found, strict=True
        )
    ]
    hint = "The lowest F1 first, with its 95 % interval."
    return Table("Class by class", hint, head, tuple(sorted(rows, key=lambda row: row[1])))


def _mistakes(
    labels: Sequence[str],
    truth: np.ndarray,
    probabilities: np.ndarray,
    predicted: np.ndarray,
    texts: Sequence[Text],
) -> Table:
    """The 30 wrong answers given with the most confidence."""
    head = (Column("text", "text"), Column("truth", "label"), Column("predicted", "label"), Column("confidence"))
    different = truth != predicted
    wrong = np.flatnonzero(different if different.ndim == 1 else different.any(axis=1))
    confidence = _confidence(truth, probabilities, predicted)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:30]
    rows = [
        (
            beginning(joined(texts[row])),
            _answer(labels, truth[row]),
            _answer(labels, predicted[row]),
            float(confidence[row]),
        )
        for row in shown
    ]
    most = f"; here the {len(rows)} the model was surest of" if len(wrong) > len(rows) else ""
    hint = f"Wrong rows: {len(wrong):,}{most}, the surest first. Sometimes it is the truth that is wrong."
    return Table("Worst mistakes", hint if rows else "None: every row is right.", head, tuple(rows))


def _confidence(truth: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """How sure the model was of each answer; of a set of labels, of its most confident mistake. [rows]"""
    if truth.ndim == 1:
        return np.asarray(probabilities[np.arange(len(truth)), predicted])
    sure = np.where(predicted == 1, probabilities, 1 - probabilities)
    return np.asarray(np.where(truth != predicted, sure, 0).max(axis=1))


def _answer(labels: Sequence[str], answer: np.ndarray) -> str:
    """A class number, or the 0 and 1 of every class, in words."""
    if answer.ndim == 0:
        return labels[int(answer)]
    return ", ".join(label for label, given in zip(labels, answer, strict=True) if given) or "(none)"
