"""Entities in tagged words: counted as conlleval counts them, and what a report says of the mistakes.

Tags are numbers, whatever they are called: 0 for none, then two for each type, its B- and its I-: 2t + 1 and 2t + 2.
A row's tags are a tuple with one for each word.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from headwise.errors import InputError, printable
from headwise.judging.intervals import DRAWS, Drawn, times_drawn
from headwise.judging.metrics import ClassScores, NamedScores
from headwise.judging.sections import Column, Findings, Table, beginning

METRICS = {
    "f1": "entity F1",
    "precision": "precision",
    "recall": "recall",
    "macro_f1": "macro F1",
    "accuracy": "token accuracy",
}
"""The metrics a model can be chosen by, and how they are written for a reader."""

Rows = Sequence[Any] | npt.NDArray[Any]  # b sequences of tags
Entity = tuple[int, int, int, int]  # row, first word, the word after the last, type
Wrong = Literal["wrong type", "wrong ends", "both wrong", "missed", "invented"]
WRONG: tuple[Wrong, ...] = get_args(Wrong)
WORDS_BEFORE = 8  # words before a mistake that are shown with it


@dataclass(frozen=True)
class EntityScores(NamedScores):
    """How one set of answers did. An entity is right where its type and both its ends are."""

    metrics: ClassVar[Mapping[str, str]] = METRICS

    f1: float  # over all entities of whatever type
    precision: float
    recall: float
    macro_f1: float  # the mean over types that occur, in truth or in answers
    accuracy: float  # share of words with the right tag
    per_type: dict[str, ClassScores]
    entities: int
    rows: int

    @property
    def parts(self) -> Mapping[str, ClassScores]:
        """Of each type."""
        return self.per_type


@dataclass(frozen=True)
class Mistake:
    """A true entity that was not found, and the one given in its place; either may be absent."""

    true: Entity | None
    given: Entity | None
    wrong: Wrong


def entities(rows: Rows) -> list[Entity]:
    """The entities of b rows of tags, in their order, as conlleval.pl and seqeval's default mode find them.

    One begins at B-, and also at I- of another type than the word before it: nothing is thrown away.
    """
    lengths = np.array([len(row) for row in rows])
    tags = np.fromiter((tag for row in rows for tag in row), np.int64, int(lengths.sum()))
    if not len(tags):
        return []
    row = np.repeat(np.arange(len(rows)), lengths)
    kind = np.where(tags == 0, -1, (tags - 1) // 2)
    goes_on = np.append(False, (row[1:] == row[:-1]) & (kind[1:] == kind[:-1]) & (tags[1:] % 2 == 0))
    begins = (tags > 0) & ~goes_on
    ends = (tags > 0) & ~np.append(goes_on[1:], False)
    at, last = np.flatnonzero(begins), np.flatnonzero(ends)
    starts = (np.cumsum(lengths) - lengths)[row[at]]
    return list(
        zip(row[at].tolist(), (at - starts).tolist(), (last + 1 - starts).tolist(), kind[at].tolist(), strict=True)
    )


def score(truth: Rows, answers: Rows, types: Sequence[str]) -> EntityScores:
    """Score answers against the truth, both b rows of as many tags. Raises InputError without rows."""
    if not len(truth):
        raise InputError("there are no rows to score")
    true, given = entities(truth), entities(answers)
    found, support, right = (_by_type(some, len(types)) for some in (given, true, set(given) & set(true)))
    precision, recall, f1 = _ratio(right, found), _ratio(right, support), _ratio(2 * right, found + support)
    same = [a == b for row, answer in zip(truth, answers, strict=True) for a, b in zip(row, answer, strict=True)]
    columns = zip(precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    occurs = found + support > 0
    return EntityScores(
        f1=float(_ratio(2 * right.sum(), found.sum() + support.sum())),
        precision=float(_ratio(right.sum(), found.sum())),
        recall=float(_ratio(right.sum(), support.sum())),
        macro_f1=float(f1[occurs].mean()) if occurs.any() else 0.0,
        accuracy=float(np.mean(same)) if same else 0.0,
        per_type={name: ClassScores(*values) for name, values in zip(types, columns, strict=True)},
        entities=int(support.sum()),
        rows=len(truth),
    )


def drawn(truth: Rows, *answers: Rows, types: int, seed: int = 0) -> tuple[Drawn, ...]:
    """The scores of each of several answers to the same rows, all in the same draws of these: rows are counted once."""
    counted = np.stack([_by_row(truth, one, types) for one in answers], 1)  # [rows answers types+1 3]
    flat = counted.reshape(len(truth), -1).astype(float)
    parts = [times @ flat for times in times_drawn(np.ones(len(truth)), DRAWS, seed)]
    sums = np.concatenate(parts).reshape(DRAWS, *counted.shape[1:])
    return tuple(_scores_of(one) for one in np.moveaxis(sums, 1, 0))


def _by_row(truth: Rows, answers: Rows, types: int) -> npt.NDArray[np.int64]:
    """Of each row and type how many entities are found, are there, are right; last, words that are right, twice, and
    all words. [rows types+1 3]"""
    true, given = entities(truth), entities(answers)
    counts = np.zeros((len(truth), types + 1, 3), np.int64)
    for column, some in enumerate((given, true, set(given) & set(true))):
        places = np.array([(row, kind) for row, *_, kind in some], np.int64).reshape(-1, 2)
        np.add.at(counts[:, :, column], tuple(places.T), 1)
    for row, (mine, theirs) in enumerate(zip(truth, answers, strict=True)):
        right = sum(a == b for a, b in zip(mine, theirs, strict=True))
        counts[row, types] = right, len(mine), right
    return counts


def _scores_of(sums: npt.NDArray[Any]) -> Drawn:
    """Every metric from such counts. [draws types+1 3]"""
    found, support, right = np.moveaxis(sums[:, :-1], 2, 0)  # [draws types] each
    f1, occurs = _ratio(2 * right, found + support), found + support > 0
    metrics = {
        "f1": _ratio(2 * right.sum(1), (found + support).sum(1)),
        "precision": _ratio(right.sum(1), found.sum(1)),
        "recall": _ratio(right.sum(1), support.sum(1)),
        "macro_f1": _ratio((f1 * occurs).sum(1), occurs.sum(1)),
        "accuracy": _ratio(sums[:, -1, 2], sums[:, -1, 1]),
    }
    return Drawn(metrics, f1)


def _by_type(some: Any, types: int) -> npt.NDArray[Any]:
    """How many entities of each type. [types]"""
    return np.bincount(np.array([kind for *_, kind in some], np.int64), minlength=types)


def _ratio(above: Any, below: Any) -> npt.NDArray[Any]:
    """above / below, and 0 where below is 0."""
    return np.where(below == 0, 0.0, above / np.maximum(below, 1))


def as_text(truth: Rows, answers: Rows, types: Sequence[str]) -> str:
    """Type by type, laid out as scikit-learn's classification report, and the mistakes by what is wrong."""
    scores = score(truth, answers, types)
    width = max(len("macro avg"), *(len(printable(name)) for name in types))
    lines = [f"{'':>{width}}  precision    recall  f1-score   entities", ""]
    for name, one in scores.per_type.items():
        numbers = f"{one.precision:9.3f} {one.recall:9.3f} {one.f1:9.3f} {one.support:10,}"
        lines.append(f"{printable(name):>{width}}  {numbers}")
    total = f"{scores.precision:9.3f} {scores.recall:9.3f} {scores.f1:9.3f} {scores.entities:10,}"
    found = Counter(one.wrong for one in mistakes(truth, answers))
    said = ", ".join(f"{wrong} {found[wrong]:,}" for wrong in WRONG)
    return "\n".join([*lines, "", f"{'all':>{width}}  {total}", "", f"mistakes: {said}"])


def mistakes(truth: Rows, answers: Rows) -> list[Mistake]:
    """What is wrong, an entity at a time: every true one that was not found, and every given one that meets none."""
    true, given = entities(truth), entities(answers)
    right = set(true) & set(given)
    given_of: defaultdict[int, list[Entity]] = defaultdict(list)
    for one in given:
        if one not in right:
            given_of[one[0]].append(one)
    found, met = [], set()
    for one in true:
        if one not in right:
            near = [other for other in given_of[one[0]] if one[1] < other[2] and other[1] < one[2]]
            met |= set(near)
            best = max(near, key=lambda other: (one[1:3] == other[1:3], one[3] == other[3]), default=None)
            found.append(Mistake(one, best, _wrong(one, best)))
    return found + [Mistake(None, one, "invented") for some in given_of.values() for one in some if one not in met]


def _wrong(true: Entity, given: Entity | None) -> Wrong:
    if given is None:
        return "missed"
    if true[1:3] == given[1:3]:
        return "wrong type"
    return "wrong ends" if true[3] == given[3] else "both wrong"


def findings(
    types: Sequence[str],
    truth: Rows,
    answers: Rows,
    sure: Sequence[npt.NDArray[Any]],  # [b] the probability of each word's answer
    texts: Sequence[str],  # [b]
    places: Sequence[npt.NDArray[Any]],  # [b] of [words 2], where each word begins and ends in its text
) -> Findings:
    """Type by type with what was wrong, types taken for others, and the worst mistakes."""
    found = mistakes(truth, answers)
    by_type = Counter((types[(one.true or one.given)[3]], one.wrong) for one in found)  # type: ignore[index]
    return Findings(
        "An entity is right where its type and both its ends are; F1 is over all entities, as conlleval counts them.",
        (
            _type_by_type(score(truth, answers, types), by_type),
            _confusions(types, found),
            _worst(types, found, sure, texts, places),
        ),
        {"labels": list(types), "mistakes": {name: {w: by_type[name, w] for w in WRONG} for name in types}},
    )


def _type_by_type(scores: EntityScores, by_type: Mapping[tuple[str, Wrong], int]) -> Table:
    """All types with their scores, and how many entities of each went wrong in which way."""
    head = (Column("type", "label"), Column("F1", "bar"), *map(Column, ("precision", "recall", "entities", *WRONG)))
    rows: list[tuple[str | float, ...]] = [
        (name, one.f1, one.precision, one.recall, one.support, *(by_type[name, wrong] for wrong in WRONG))
        for name, one in scores.per_type.items()
    ]
    hint = "The lowest F1 first. Invented: where the truth has no entity at all."
    return Table("Type by type", hint, head, tuple(sorted(rows, key=lambda row: row[1])))


def _confusions(types: Sequence[str], found: Sequence[Mistake]) -> Table:
    """The 20 most frequent confusions of one type with another."""
    pairs = Counter((one.true[3], one.given[3]) for one in found if one.true and one.given)
    ranked = [(pair, times) for pair, times in pairs.most_common() if pair[0] != pair[1]][:20]
    rows = tuple((types[i], types[j], times) for (i, j), times in ranked)
    hint = "Entities of one type taken for another, at the same words or some of them." if rows else "None."
    return Table("Confusions", hint, (Column("truth", "label"), Column("taken for", "label"), Column("entities")), rows)


def _worst(
    types: Sequence[str],
    found: Sequence[Mistake],
    sure: Sequence[npt.NDArray[Any]],
    texts: Sequence[str],
    places: Sequence[npt.NDArray[Any]],
) -> Table:
    """The mistakes the model was surest of: 20 entities it gave, and 10 places where it gave none."""
    ranked = []
    for one in found:
        row, first, last, _ = one.given or one.true or (0, 0, 0, 0)
        ranked.append((float(sure[row][first:last].mean()), one))
    ranked.sort(key=lambda pair: -pair[0])
    shown = [pair for pair in ranked if pair[1].given][:20] + [pair for pair in ranked if not pair[1].given][:10]
    rows: list[tuple[str | float, ...]] = []
    for confidence, one in sorted(shown, key=lambda pair: -pair[0]):
        both = [side for side in (one.true, one.given) if side]
        row, first = both[0][0], min(side[1] for side in both)
        start = int(places[row][max(first - WORDS_BEFORE, 0), 0])
        named = [_named(types, side, texts[row], places[row]) if side else "(none)" for side in (one.true, one.given)]
        rows.append((beginning(("…" if start else "") + texts[row][start:]), *named, confidence))
    head = (Column("text", "text"), Column("truth", "label"), Column("predicted", "label"), Column("confidence"))
    most = f"; here {len(rows)} the model was surest of" if len(found) > len(rows) else ""
    hint = f"Wrong entities: {len(found):,}{most}, the surest first. Sometimes it is the truth that is wrong."
    return Table("Worst mistakes", hint if rows else "None: every entity is right.", head, tuple(rows))


def _named(types: Sequence[str], one: Entity, text: str, places: npt.NDArray[Any]) -> str:
    """'LOC: New York'"""
    return f"{types[one[3]]}: {beginning(text[int(places[one[1], 0]) : int(places[one[2] - 1, 1])])}"
