"""One answer, explained: what was asked, where the model looked, what mattered, and how far to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from headwise.core.transformer import HeadedEncoder
from headwise.errors import InputError, excerpt, listing
from headwise.insight.attribution import METHODS, attribution, read_at, towards
from headwise.insight.explanation import Array, Attribution, Explanation
from headwise.insight.faithfulness import Perturbed, chosen, receipt
from headwise.insight.question import Pieces, Question
from headwise.insight.watching import watching
from headwise.insight.words import pieces
from headwise.reading.text import Text, TextTokenizer
from headwise.tasks.text_classification import TextClassification

AUTO = "auto"


def explain(
    model: HeadedEncoder,
    task: TextClassification,
    tokenizer: TextTokenizer,
    text: Text,
    *,
    label: str | None = None,
    against: str | None = None,
    method: str = AUTO,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
) -> Explanation:
    """Why a text or pair got its label, or another one asked about, or one and not another.

    label None: the likeliest one. method: a name in METHODS, or auto, which takes the cheapest that is to be
    trusted. layers, heads: whose attention to keep, None for all of them.

    Raises InputError for a name or number the model does not have, and for a text that is empty or too long.
    """
    if method not in (AUTO, *METHODS):
        raise InputError(f"method {excerpt(method)} is not one of {listing([AUTO, *METHODS])}")
    refuse_absent("layer", layers, len(model.encoder.blocks))
    refuse_absent("head", heads, model.encoder.spec.blocks[0].attention.n_heads)
    own = readable(tokenizer, text)
    model.eval()
    with torch.no_grad():
        probabilities = task.probabilities(model(*own.packed()))[0]
    question = asked(task.labels, label, against, probabilities)
    tried = attributions(list(METHODS) if method == AUTO else [method], model, task, own, question)
    name, verdict = chosen(tried)
    seen = watching(model, own, layers, heads)
    return Explanation(
        pieces=own,
        labels=task.labels,
        probabilities=probabilities,
        question=question,
        attributions=tried,
        chosen=name,
        verdict=verdict,
        attention=seen.attention,
        heads_watched=tuple(range(model.encoder.spec.blocks[0].attention.n_heads) if heads is None else heads),
        rollout=read_at(model, own, question).numpy() @ seen.rollout,
        heads=seen.heads,
    )


def attributions(
    methods: Sequence[str], model: HeadedEncoder, task: TextClassification, own: Pieces, question: Question
) -> tuple[Attribution, ...]:
    """One per method with its receipt, in their order, as far as the first that is to be trusted."""
    trial = Perturbed(model, task, own, question)
    tried = []
    for name in methods:
        found = attribution(name, model, own, towards(task, question))
        proof = receipt(model, task, own, question, found.words, perturbed=trial)
        tried.append(replace(found, receipt=proof))
        if proof.trusted:
            break
    return tuple(tried)


def asked(labels: Sequence[str], label: str | None, against: str | None, probabilities: Array) -> Question:
    """The labels asked about as numbers. Raises InputError for one the model does not have."""
    for name in (label, against):
        if name is not None and name not in labels:
            raise InputError(f"label {excerpt(name)} is not one of the model's: {listing(labels)}")
    number = int(np.argmax(probabilities)) if label is None else labels.index(label)
    if against == labels[number]:
        raise InputError(f"label {excerpt(against)} is asked about against itself; name another one")
    return Question(number, None if against is None else labels.index(against))


def readable(tokenizer: TextTokenizer, text: Text) -> Pieces:
    """A text or pair in words. Raises InputError where there is nothing to read, or more than the model can."""
    if tokenizer.encode([text]).cut[0]:
        raise InputError(f"the text is longer than the {tokenizer.max_length:,} tokens the model reads; explain a part")
    for number, side in enumerate((text,) if isinstance(text, str) else text, 1):
        if not side.strip():
            which = "the text" if isinstance(text, str) else f"text {number} of the pair"
            raise InputError(f"{which} is empty, so there is nothing to explain; give some words")
    own = pieces(tokenizer, text)
    if not own.words:
        raise InputError("the text holds no character the model's tokenizer keeps; give some words")
    return own


def refuse_absent(what: str, numbers: Sequence[int] | None, count: int) -> None:
    """Raise InputError for a layer or head there is not."""
    for number in numbers or ():
        if not 0 <= number < count:
            raise InputError(f"{what} {number}: the model has {count}, counted from 0 to {count - 1}")
