"""Words behind masks: how often a model finds them, and what a report says of the mistakes.

A row's answer is three numbers: how many of its tokens were hidden, how many of these were found, the sum of losses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headwise.errors import InputError
from headwise.judging.intervals import redrawn
from headwise.judging.metrics import NamedScores
from headwise.judging.sections import Column, Findings, Table

METRICS = {"log_likelihood": "log-likelihood", "accuracy": "accuracy"}
"""The metrics a model can be chosen by, and how they are written for a reader; of each, more is better."""


@dataclass(frozen=True)
class MaskScores(NamedScores):
    """How one set of answers did, over all masks."""

    metrics: ClassVar[Mapping[str, str]] = METRICS

    log_likelihood: float  # natural, of a hidden token, the mean
    accuracy: float  # share of the hidden tokens that were the likeliest
    perplexity: float  # exp(-log_likelihood)
    masks: int
    rows: int


def score(answers: np.ndarray) -> MaskScores:
    """Score answers [rows 3]. Raises InputError where nothing was hidden."""
    masks, right, loss = answers.sum(axis=0)
    if not masks:
        raise InputError("there is no word to hide in these texts; give others")
    mean = float(loss / masks)
    return MaskScores(-mean, float(right / masks), float(np.exp(mean)), int(masks), len(answers))


def drawn(answers: np.ndarray) -> dict[str, np.ndarray]:
    """Each of METRICS where rows are drawn again. [draws]"""

    def means(rows: np.ndarray) -> dict[str, float]:
        masks, right, loss = answers[rows].sum(axis=0)
        return {"log_likelihood": float(-loss / max(masks, 1)), "accuracy": float(right / max(masks, 1))}

    return redrawn(means, len(answers))


def as_text(answers: np.ndarray) -> str:
    """The same for the terminal, with the perplexity."""
    found = score(answers)
    lines = {"hidden tokens": f"{found.masks:,}", "perplexity at the masks": f"{found.perplexity:,.2f}"}
    return "\n".join(f"{name:<38}{value:>11}" for name, value in lines.items())


def findings(pairs: Sequence[tuple[str, str]]) -> Findings:
    """Which tokens are taken for which, of hidden ones and what was given in their place."""
    hidden = Counter(one for one, _ in pairs)
    wrong = Counter((one, other) for one, other in pairs if one != other)
    head = (Column("hidden", "label"), Column("given", "label"), Column("times"), Column("share", "bar"))
    rows = [(*pair, times, times / hidden[pair[0]]) for pair, times in wrong.most_common(30)]
    hint = "Of all hidden tokens, those most often taken for others. Where several fit, none is wrong."
    return Findings(
        hint="Log-likelihood and accuracy are of the hidden tokens: 15 % of each text, the same ones every time.",
        sections=(Table("Tokens taken for others", hint, head, tuple(rows)),),
    )
