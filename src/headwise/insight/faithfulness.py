"""How far to believe an attribution: take away the words it calls important and watch what the model says then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from headwise.insight.explanation import Array, Attribution, Curves, Receipt
from headwise.insight.question import Pieces, Question, logits_keeping
from headwise.insight.subject import Subject

Kept = npt.NDArray[np.bool_]  # [k w] which words stay, in each of k variants of a text
Order = npt.NDArray[np.int64]  # [w] words, the most important first

MOST = (0.1, 0.2, 0.5)  # the shares of words whose loss comprehensiveness and sufficiency average
EFFECT = 0.1  # of the subject's scale: what an order must move the answer by, on average over the shares
TIE = 0.02  # of the same: a random order that is better by less is as good
FEWEST = 4  # words: of fewer, random orders too often are the right one


class Perturbed:
    """One input and one question, with words gone. What was computed once is remembered.

    Hand the same one to the receipts of several attributions: only what differs is computed then.
    """

    def __init__(self, subject: Subject, pieces: Pieces, question: Question):
        self.subject, self.pieces, self.question = subject, pieces, question
        self.known: dict[bytes, float] = {}

    def __call__(self, kept: Kept) -> Array:
        """The asked probability where only some words are kept, for each row of kept. [k w] -> [k]"""
        names = [row.tobytes() for row in kept]
        new = {name: row for name, row in zip(names, kept, strict=True) if name not in self.known}
        if new:
            rows = np.stack(sorted(new.values(), key=np.count_nonzero))  # neighbours of like length pad little
            probabilities = self.subject.chances(logits_keeping(self.subject.model, self.pieces, rows))
            asked = self.question.of(torch.from_numpy(probabilities))
            self.known.update(zip((row.tobytes() for row in rows), asked.tolist(), strict=True))
        return np.array([self.known[name] for name in names])

    @cached_property
    def occlusion(self) -> Array:
        """What leaving out each word by itself loses; in long texts, each run of a few neighbours. [w]"""
        w = len(self.pieces.words)
        runs = min(w, max(16, 8192 // len(self.pieces.ids)))
        run = np.arange(w) * runs // max(w, 1)  # [w] the run of each word
        left = run != np.arange(runs)[:, None]  # [runs w]
        return (self(np.ones((1, w), bool)) - self(left))[run] if w else np.zeros(0)

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many words are gone, or there, at each share: steps of a tenth, in long texts of up to a quarter."""
        w = len(self.pieces.words)
        steps = min(w, max(4, min(10, 2048 // len(self.pieces.ids))))
        return np.unique(np.linspace(0, w, steps + 1).round().astype(np.int64))

    def curves(self, order: Order) -> Curves:
        """Deletion and insertion in this order of the words."""
        first = keeping_first(order, self.counts)
        deletion, insertion = self(~first), self(first)
        return Curves(deletion, insertion, area(deletion, self.counts), area(insertion, self.counts))


def keeping_first(order: Order, counts: Sequence[int] | npt.NDArray[np.int64]) -> Kept:
    """For each of k counts, which words stay when only so many do, the first of the order. -> [k w]"""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank < np.asarray(counts)[:, None]


def area(curve: Array, counts: npt.NDArray[np.int64]) -> float:
    """The mean height of a curve, by the trapezoid rule."""
    if len(curve) == 1:
        return float(curve[0])
    return float(np.average((curve[1:] + curve[:-1]) / 2, weights=np.diff(counts)))


def gain(curves: Curves) -> float:
    """How much an order moves the answer: the insertion area above the deletion area; a random order's mean is 0."""
    return curves.insertion_area - curves.deletion_area


def receipt(
    subject: Subject,
    pieces: Pieces,
    question: Question,
    words: Array,
    *,
    seed: int = 0,
    random_orders: int = 10,
    perturbed: Perturbed | None = None,
) -> Receipt:
    """The receipt of an attribution to the w words of an input. words [w]

    A word that is gone is taken out of the sequence, or masked where pieces.stays; special tokens stay.
    Comprehensiveness and sufficiency are averaged over the most important 10, 20 and 50 % of the words, at least one
    each (DeYoung et al. 2020, section 4.1); the curves are those of Petsiuk et al. 2018, section 3.2. An attribution is
    trusted where all of this holds (in parts of the subject's scale, which for probabilities is 1):

    1. There are at least 4 words.
    2. Its insertion area lies at least 0.1 above its deletion area (0.2 where two labels are compared): the words
       decide the answer, and it knows which. Where weights are random the answer hardly moves.
    3. No random order's does so by more than 0.02 more than its own.
    4. It correlates with what the words do in the random variants (the mean where a word stays less the mean where
       it is gone), at 5 % one-sided by Fisher's z. So a random attribution of independent normal values is trusted
       in at most 5 % of texts, whatever the model. (An order alone could not tell: where one of ten words decides,
       one random order in ten begins with it.)
    """
    trial = perturbed or Perturbed(subject, pieces, question)
    w = len(pieces.words)
    generator = np.random.default_rng(seed)
    own = np.argsort(-words, kind="stable")
    orders = [own, np.argsort(-trial.occlusion, kind="stable")]
    orders += [generator.permutation(w) for _ in range(random_orders)]
    variants = np.concatenate([keeping_first(order, trial.counts) for order in orders])
    most = keeping_first(own, [max(1, round(share * w)) for share in MOST])
    trial(np.concatenate([variants, ~variants, most, ~most]))  # everything at once; from here on it is known
    whole = float(trial(np.ones((1, w), bool))[0])
    curves, occlusion, *random = [trial.curves(order) for order in orders]
    drawn = variants[2 * len(trial.counts) :]
    agreement = correlation(words, effects(trial, np.concatenate([drawn, ~drawn])))
    trusted, reason = verdict(trial, curves, random, agreement)
    return Receipt(
        shares=trial.counts / max(w, 1),
        comprehensiveness=whole - float(trial(~most).mean()),
        sufficiency=whole - float(trial(most).mean()),
        curves=curves,
        random=tuple(random),
        occlusion=occlusion,
        trusted=trusted,
        reason=reason,
    )


def effects(trial: Perturbed, kept: Kept) -> Array:
    """The mean asked probability where a word stays less that where it is gone, in variants with some words. [w]"""
    some = kept[kept.any(1) & ~kept.all(1)]
    y = trial(some) if len(some) else np.zeros(0)
    there, gone = np.maximum(some.sum(0), 1), np.maximum((~some).sum(0), 1)  # [w]
    return y @ some / there - y @ ~some / gone


def correlation(one: Array, other: Array) -> float:
    """Pearson's; 0 where either is constant or not finite."""
    one, other = one - one.mean() if len(one) else one, other - other.mean() if len(other) else other
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length > 1e-12 and math.isfinite(length) else 0.0


def verdict(trial: Perturbed, curves: Curves, random: Sequence[Curves], agreement: float) -> tuple[bool, str]:
    """Whether an attribution is trusted, by the rule that stands at receipt, and why, in a sentence."""
    w, own, drawn = len(trial.pieces.words), gain(curves), [gain(one) for one in random]
    moved = max(trial.known.values()) - min(trial.known.values())
    scale = trial.subject.scale or moved
    needed = scale * (EFFECT if trial.question.against is None else 2 * EFFECT)
    if w < FEWEST:
        return False, f"too short to tell: {w} words, and at least {FEWEST} are needed"
    if moved < needed:
        return False, "the answer hardly depends on the words: whichever are taken away, it stays nearly the same"
    if own < needed:
        shown = math.floor(own * 1000) / 1000  # rounded up it would look like enough
        return False, f"taking its words away moves the answer little ({shown:.3f}, at least {needed:.3g} is needed)"
    better = sum(one > own + TIE * scale for one in drawn)
    if better:
        return False, f"{better} of {len(drawn)} random orders of the words move the answer more"
    if math.atanh(min(agreement, 1 - 1e-9)) * math.sqrt(w - 3) < 1.645:
        return False, f"it does not agree with what taking random words away does (correlation {agreement:.2f})"
    most = f", {max(drawn):.2f} at most" if drawn else ""
    return True, f"its words move the answer ({own:.2f}) as none of {len(drawn)} random orders of them does{most}"


def chosen(attributions: Sequence[Attribution]) -> tuple[str | None, str]:
    """The method of the first whose receipt is trusted, and a sentence; None where none is.

    attributions: in the order in which they are preferred.
    """
    for one in attributions:
        if one.receipt is not None and one.receipt.trusted:
            return one.method, f"{one.method}: {one.receipt.reason}"
    methods: dict[str, list[str]] = {}  # by reason, as several may have the same
    for one in attributions:
        if one.receipt is not None:
            methods.setdefault(one.receipt.reason, []).append(one.method)
    reasons = [f"{', '.join(names)}: {reason}" for reason, names in methods.items()]
    return None, f"not trustworthy here; {'; '.join(reasons) or 'no attribution has a receipt'}"
