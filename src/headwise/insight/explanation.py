"""An explanation as data: the answer, where each head looked, what mattered by which method, and the receipts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from markupsafe import escape

from headwise.insight.question import Pieces, Question

Array = npt.NDArray[np.floating]
Measure = Literal["probability", "number", "cosine"]
"""What an explained answer is measured in."""


@dataclass(frozen=True, eq=False)
class Curves:
    """How the asked probability moves while words go (deletion) or come (insertion), the most important first.

    Both are read at the same shares of the words, from 0 to 1; an area is the mean height of a curve.
    """

    deletion: Array  # [shares] starts at the whole text; the faster it falls the better
    insertion: Array  # [shares] starts at no words; the faster it rises the better
    deletion_area: float
    insertion_area: float


@dataclass(frozen=True, eq=False)
class Receipt:
    """How far to believe an attribution (DeYoung et al. 2020, arXiv:1911.03429; Petsiuk et al. 2018, arXiv:1806.07421).

    random holds the curves of several random orders; occlusion the curve of leave-one-word-out, the honest
    and slow reference.
    """

    shares: Array  # [shares] 0 … 1
    comprehensiveness: float  # what is lost without the most important words, averaged over some shares of them
    sufficiency: float  # what is lost with only those
    curves: Curves
    random: tuple[Curves, ...]
    occlusion: Curves
    trusted: bool  # clearly better than the random orders
    reason: str  # why or why not, for people


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each position of the input pushed towards the asked label (below 0: away from it)."""

    method: str
    positions: Array  # [t]
    words: Array  # [w] the sum over each word's pieces
    special_share: float  # of all absolute attribution, what fell on special tokens
    seconds: float
    gap: float | None = None  # integrated gradients: |sum - (F(input) - F(baseline))|, which should be 0
    receipt: Receipt | None = None


@dataclass(frozen=True, eq=False)
class Explanation:
    """All that is known about one answer."""

    pieces: Pieces
    labels: tuple[str, ...]
    probabilities: Array  # [c]
    question: Question
    attributions: tuple[Attribution, ...]  # one per method that was tried
    chosen: str | None  # the method to look at; None where none is to be trusted
    verdict: str  # the same for people
    attention: Mapping[int, Array]  # layer -> [h t t], for the layers and heads watched
    heads_watched: tuple[int, ...]  # which heads the h are
    rollout: Array  # [t] how much of each position reaches the end through all layers (arXiv:2005.00928)
    heads: Mapping[str, Array]  # what a head does ('previous', 'first', 'separator', 'same_word', 'entropy') -> [L h]
    measure: Measure = "probability"  # of probabilities
    about: str = ""  # the word or text that is asked about, where it is not the whole input

    @property
    def shown(self) -> Attribution:
        """The attribution to look at: the one chosen, or the first where none is to be trusted."""
        return next((one for one in self.attributions if one.method == self.chosen), self.attributions[0])

    def _repr_html_(self) -> str:
        """The page, for a notebook: in a frame of its own, so that the two do not touch each other's looks."""
        from headwise.insight.page import as_html

        return f'<iframe srcdoc="{escape(as_html(self))}" style="width: 100%; height: 40em; border: 0"></iframe>'

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; the attention weights themselves are left out, they are arrays of this object."""
        text = self.pieces.text
        against = self.question.against
        return {
            "text": [text] if isinstance(text, str) else list(text),
            "labels": list(self.labels),
            "measure": self.measure,
            "about": self.about,
            "probabilities": self.probabilities.tolist(),
            "label": self.labels[self.question.label],
            "against": None if against is None else self.labels[against],
            "chosen": self.chosen,
            "verdict": self.verdict,
            "tokens": list(self.pieces.names),
            "words": [asdict(word) for word in self.pieces.words],
            "word_of": self.pieces.word_of.tolist(),
            "attributions": [plain(attribution) for attribution in self.attributions],
            "rollout": self.rollout.tolist(),
            "heads": {name: array.tolist() for name, array in self.heads.items()},
        }


def plain(value: Any) -> Any:
    """A dataclass of numbers, arrays and others like it, as plain JSON."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value
