"""What a report says of rankings: right against wrong texts, what is worth an answer, the worst mistakes."""

from collections.abc import Sequence

import numpy as np
import scipy

from headwise.judging.baselines import Text
from headwise.judging.plots import BLUE, ORANGE, axes, svg
from headwise.judging.ranking import Duels, PlattScaling
from headwise.judging.sections import Column, Findings, Plot, Section, Table, beginning

LEAST = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)  # chances of being right, from which on a text is worth an answer


def findings(duels: Duels, calibration: PlattScaling | None, texts: Sequence[Text]) -> Findings:
    """Histogram, answers by their chance of being right, mistakes; texts: the pairs of all rows."""
    hint = (
        f"{len(duels.rows):,} distinct first texts with a right second one were looked for among the distinct second "
        "texts of all rows."
    )
    if not len(duels.rows):
        return Findings(hint)
    sections: list[Section] = [_histogram(duels)]
    numbers = []
    if calibration is not None:
        table = answers_by_chance(duels, calibration)
        names = ("least", "answered", "right of the answered", "answered without a right text")
        sections.append(Table("Answers", _ANSWERS, tuple(map(Column, names)), table))
        numbers = [dict(zip(names, row, strict=True)) for row in table]
    return Findings(hint, (*sections, _mistakes(duels, texts)), {"answers": numbers} if numbers else {})


_ANSWERS = (
    "Only a text whose chance of being right is at least so high is given as an answer. In the last column the right "
    "texts were taken away, so that every answer is wrong."
)


def answers_by_chance(duels: Duels, calibration: PlattScaling) -> tuple[tuple[float, ...], ...]:
    """The least chance; how many are answered; how many of them rightly; how many with no right text at hand."""
    best = calibration.probabilities(np.maximum(duels.right, duels.wrong))
    without = calibration.probabilities(duels.wrong)
    rows = []
    for least in LEAST:
        given = best >= least
        right = duels.won[given].mean() if given.any() else 0.0
        rows.append((least, float(given.mean()), float(right), float((without >= least).mean())))
    return tuple(rows)


def _histogram(duels: Duels) -> Plot:
    drawn = axes("cosine", "first texts")
    bins = np.linspace(min(duels.right.min(), duels.wrong.min()), 1.0, 41)
    drawn.hist(duels.right, bins, color=BLUE, alpha=0.6, label="the right text")
    drawn.hist(duels.wrong, bins, color=ORANGE, alpha=0.6, label="the nearest wrong one")
    hint = "The further apart the two, the better a threshold can tell that nothing good enough is there."
    return Plot("Right and wrong texts", hint, svg(drawn))


def _mistakes(duels: Duels, texts: Sequence[Text]) -> Table:
    """The 30 first texts that something wrong is nearest to, by how much nearer."""
    head = (
        *(Column(name, "text") for name in ("text", "right", "found")),
        Column("cosine of right"),
        Column("cosine of found"),
    )
    lost = np.flatnonzero(~duels.won)
    worst = lost[np.argsort((duels.right - duels.wrong)[lost], kind="stable")][:30]
    rows = []
    for one in worst.tolist():
        mine, found = texts[int(duels.rows[one])], texts[int(duels.opponents[one])]
        cosines = float(duels.right[one]), float(duels.wrong[one])
        rows.append((beginning(mine[0]), beginning(mine[1]), beginning(found[1]), *cosines))
    hint = (
        f"Something wrong was nearest to {len(lost):,} of {len(duels.rows):,}; those first where it is nearer by far."
    )
    return Table("Worst mistakes", hint if rows else "None: the right text is always nearest.", head, tuple(rows))


def similarities(values: np.ndarray, cosines: np.ndarray, texts: Sequence[Text]) -> Findings:
    """Cosines by the scores of the table, and the pairs whose rank differs most."""
    drawn = axes("score in the table", "cosine")
    shown = np.linspace(0, len(values) - 1, min(len(values), 1000)).astype(int)
    drawn.scatter(values[shown], cosines[shown], s=8, color=BLUE, alpha=0.4, linewidths=0)
    off = (scipy.stats.rankdata(cosines) - scipy.stats.rankdata(values)) / len(values)  # [rows] -1 to 1
    worst = np.argsort(-np.abs(off), kind="stable")[:30]
    rows = []
    for row in worst.tolist():
        first, second = map(beginning, texts[row])
        rows.append((first, second, float(values[row]), float(cosines[row]), f"{100 * off[row]:+.0f}%"))
    head = (Column("first", "text"), Column("second", "text"), Column("score"), Column("cosine"), Column("rank"))
    hint = (
        "The pairs that the model places furthest from where the table does: by how much of all rows, up (+) or down."
    )
    return Findings(
        "The model knows an order only: the scale of a cosine is not that of the scores.",
        (
            Plot("Cosines and scores", "Each point is a row; a good order rises.", svg(drawn)),
            Table("Worst mistakes", hint, head, tuple(rows)),
        ),
    )
