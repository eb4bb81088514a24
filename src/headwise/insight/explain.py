"""One answer, explained: what was asked, where the model looked, what mattered, and how far to believe it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from headwise.core.transformer import HeadedEncoder
from headwise.errors import InputError, excerpt, listing
from headwise.insight.attribution import METHODS, attribution, read_at
from headwise.insight.explanation import Array, Attribution, Explanation
from headwise.insight.faithfulness import Perturbed, chosen, receipt
from headwise.insight.question import Pieces, Question
from headwise.insight.subject import Subject, subject_of
from headwise.insight.watching import watching
from headwise.reading.text import Text, TextTokenizer
from headwise.tasks.task import Task

AUTO = "auto"
MOST_WEIGHTS = 2**29  # of attention that is kept: 2 GiB


def explain(
    model: HeadedEncoder,
    task: Task,
    tokenizer: TextTokenizer,
    text: Text,
    *,
    label: str | None = None,
    against: str | None = None,
    word: str | None = None,
    method: str = AUTO,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
) -> Explanation:
    """Why a text or pair got its answer, or another one asked about, or one and not another.

    What is asked about is the label of a text, the number it gets, the tag of one word, an answer in a context (the
    second text of the pair), or how alike a text is to another (the second, which is taken as it is).

    label None: the likeliest one. word: whose tag, None for the surest. method: a name in METHODS, or auto, which
    takes the first of them that is to be trusted. layers, heads: whose attention to keep, None for all of them.

    Raises InputError for a name or number the model does not have, for a text that is empty or too long, and for
    attention that takes more memory than most have.
    """
    if method not in (AUTO, *METHODS):
        raise InputError(f"method {excerpt(method)} is not one of {listing([AUTO, *METHODS])}")
    refuse_absent("layer", layers, len(model.encoder.blocks))
    refuse_absent("head", heads, model.encoder.spec.blocks[0].attention.n_heads)
    subject, own = subject_of(model, task, tokenizer, text, word)
    refuse_endless(model, len(own.ids), layers, heads)
    model.eval()
    with torch.no_grad():
        chances = subject.chances(subject.model(*own.packed()))[0]
    question = asked(subject.labels, label, against, chances)
    tried = attributions(list(METHODS) if method == AUTO else [method], subject, own, question)
    name, verdict = chosen(tried)
    seen = watching(model, own, layers, heads)
    return Explanation(
        pieces=own,
        labels=subject.labels,
        probabilities=chances,
        question=question,
        attributions=tried,
        chosen=name,
        verdict=verdict,
        attention=seen.attention,
        heads_watched=tuple(range(model.encoder.spec.blocks[0].attention.n_heads) if heads is None else heads),
        rollout=read_at(subject.model, own, question).numpy() @ seen.rollout,
        heads=seen.heads,
        measure=subject.measure,
        about=subject.about,
    )


def attributions(methods: Sequence[str], subject: Subject, own: Pieces, question: Question) -> tuple[Attribution, ...]:
    """One per method with its receipt, in their order, as far as the first that is to be trusted."""
    trial = Perturbed(subject, own, question)
    tried = []
    for name in methods:
        found = attribution(name, subject.model, own, subject.towards(question))
        proof = receipt(subject, own, question, found.words, perturbed=trial)
        tried.append(replace(found, receipt=proof))
        if proof.trusted:
            break
    return tuple(tried)


def asked(labels: Sequence[str], label: str | None, against: str | None, probabilities: Array) -> Question:
    """The labels asked about as numbers. Raises InputError for one the model does not have."""
    for name in (label, against):
        if name is not None and name not in labels:
            raise InputError(f"label {excerpt(str(name))} is not one of the model's: {listing(labels)}")
    number = int(np.argmax(probabilities)) if label is None else labels.index(label)
    if against == labels[number]:
        raise InputError(f"label {excerpt(against)} is asked about against itself; name another one")
    return Question(number, None if against is None else labels.index(against))


def refuse_endless(
    model: HeadedEncoder, tokens: int, layers: Sequence[int] | None, heads: Sequence[int] | None
) -> None:
    """Raise InputError for weights of attention, [t t] of each head, that are more than MOST_WEIGHTS."""
    blocks = model.encoder.spec.blocks
    asked = [
        len(blocks) if layers is None else len(layers),
        blocks[0].attention.n_heads if heads is None else len(heads),
    ]
    weights = math.prod(asked) * tokens**2
    if weights > MOST_WEIGHTS:
        raise InputError(
            f"the attention of {tokens:,} tokens in {math.prod(asked):,} heads takes {4 * weights / 2**30:,.1f} GiB; "
            "name fewer layers or heads, or a shorter text"
        )


def refuse_absent(what: str, numbers: Sequence[int] | None, count: int) -> None:
    """Raise InputError for a layer or head there is not."""
    for number in () if numbers is None else numbers:
        if not 0 <= number < count:
            raise InputError(f"{what} {number}: the model has {count}, counted from 0 to {count - 1}")
