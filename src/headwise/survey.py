"""Looking inside over a whole table: the words that drive each label, and the heads that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np

from headwise.errors import InputError, excerpt, listing
from headwise.insight.ablation import Heads, Pruning, head_importance, pruning_curve
from headwise.insight.attribution import METHODS, attribution
from headwise.insight.corpus import DrivingWords, driving_words
from headwise.insight.explanation import Array
from headwise.insight.question import Pieces, Question
from headwise.insight.subject import of_labels
from headwise.insight.words import pieces
from headwise.model import Model
from headwise.training.asked import Asked
from headwise.training.data import Source

METHOD = "occlusion"  # below some hundred words the cheapest that is trusted mostly, and it has a sign


def words_that_drive(
    model: Model,
    source: Source,
    asked: Asked,
    *,
    label: str | None = None,
    method: str = METHOD,
    least_texts: int = 5,
    done: Callable[[int, int], None] | None = None,
) -> tuple[list[DrivingWords], list[str]]:
    """For each label, or only the one named: which words push the texts that get it towards it. And what was guessed.

    Raises InputError for a label or method there is not, and a label that no text gets.
    """
    if label is not None and label not in model.labels:
        raise InputError(f"label {excerpt(label)} is not one of the model's: {listing(model.labels)}")
    if method not in METHODS:
        raise InputError(f"method {excerpt(method)} is not one of {listing(METHODS)}")
    if least_texts < 1:
        raise InputError(f"--least-texts {least_texts}: expected 1 or more")
    texts, _, notes = model.unlabelled(source, asked)
    answers = model.classification.chosen(model.probabilities(texts))
    given = answers.astype(bool) if answers.ndim == 2 else answers[:, None] == np.arange(len(model.labels))  # [b c]
    numbers = [number for number, name in enumerate(model.labels) if given[:, number].any() and label in (None, name)]
    if not numbers:
        raise InputError("no text gets " + ("any label" if label is None else f"label {excerpt(label)}"))
    subject = of_labels(model.weights, model.classification)
    total, explained = int(given[:, numbers].sum()), count(1)

    def each(number: int) -> Iterator[tuple[Pieces, Array]]:
        for row in np.flatnonzero(given[:, number]):
            own = pieces(model.tokenizer, texts[row])
            question = subject.towards(Question(number))
            if own.words:
                yield own, attribution(method, model.weights, own, question).words
            if done is not None:
                done(next(explained), total)

    found = [driving_words(each(number), model.labels[number], method, least_texts=least_texts) for number in numbers]
    return found, notes


def heads_that_matter(
    model: Model, source: Source, asked: Asked, done: Callable[[int, int], None] | None = None
) -> tuple[Heads, Pruning, list[str]]:
    """What each head is worth on every second row, and what pruning costs on the others. And what was guessed.

    Raises InputError for a table of one row.
    """
    part, notes = model.read(source, asked)
    if len(part) < 2:
        raise InputError(f"{part.records.path}: one row; to rank heads and to judge pruning two are needed, better 500")
    halves = (part.select(np.arange(first, len(part), 2), part.name) for first in (0, 1))
    ranking, judging = (model.task.examples(model.tokenizer, half.texts, half.truth) for half in halves)
    heads = head_importance(model.weights, model.task, ranking, done)
    return heads, pruning_curve(model.weights, model.task, judging, heads.order, done=done), notes
