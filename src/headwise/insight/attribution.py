"""What mattered: how much each position of the input pushed the model's answer, by several methods.

A model here is a HeadedEncoder or anything like it: encoder(ids, types, watch, vectors) makes states [n d] of the
input, answers(states) one row of numbers per sequence, and calling it does both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from headwise.core.attention import Watch
from headwise.core.transformer import HeadedEncoder
from headwise.insight.explanation import Array, Attribution
from headwise.insight.question import Pieces, Question, logits_keeping

STEPS = 50  # of the path of integrated gradients
MOST_TOKENS = 4096  # in one pass with gradients


def attribution(method: str, model: HeadedEncoder, pieces: Pieces, question: Question) -> Attribution:
    """What mattered to one answer, by one of METHODS; the model's parameters get no gradients."""
    model.eval()
    began = time.perf_counter()
    with torch.enable_grad():
        positions = METHODS[method](model, pieces, question).detach().double().numpy()
    seconds = time.perf_counter() - began
    sizes = np.abs(positions)
    share = float(sizes[pieces.special].sum() / max(sizes.sum(), np.finfo(float).tiny))
    found = Attribution(method, positions, pieces.by_word(positions), share, seconds)
    if method == "integrated_gradients":
        return replace(found, gap=completeness_gap(model, pieces, question, positions))
    return found


def gradient_x_input(model: HeadedEncoder, pieces: Pieces, question: Question) -> Tensor:
    """The gradient at each token's vector, times how far that vector is from the baseline's. [t]

    Shrikumar et al. 2016, arXiv:1605.01713, count from 0. Where a norm comes right after the token vectors, as in
    ModernBERT, their length does not matter, and the gradient times the whole vector is 0 for every input.
    """
    vectors = embedded(model, pieces)
    away = vectors - baseline(model, pieces)
    return (gradients(model, pieces, question, vectors[None])[0] * away).sum(-1)


def integrated_gradients(model: HeadedEncoder, pieces: Pieces, question: Question) -> Tensor:
    """The same with the mean gradient on the straight path from the baseline. [t]

    Sundararajan et al. 2017, arXiv:1703.01365; the integral by Gauss and Legendre's rule. What is attributed adds
    up to what the answer gains over that for the baseline.
    """
    nodes, weights = (torch.from_numpy(part).float() for part in np.polynomial.legendre.leggauss(STEPS))
    away = embedded(model, pieces) - (start := baseline(model, pieces))  # [t d]
    path = start + (nodes[:, None, None] + 1) / 2 * away  # [steps t d]
    mean = (gradients(model, pieces, question, path) * weights[:, None, None] / 2).sum(0)
    return (mean * away).sum(-1)


def attention_x_gradient(model: HeadedEncoder, pieces: Pieces, question: Question) -> Tensor:
    """Relevance that flows along attention weights times their gradients (Chefer et al. 2021). [t]

    arXiv:2103.15679, section 3.1, equations 5 and 6. Never below 0: what mattered for the answer, not what spoke
    against it. Read where the head reads, less the 1 that each position starts with.
    """
    watch, (ids, types) = Watch(through=True), pieces.packed()
    vectors = embedded(model, pieces).requires_grad_()  # there is a graph where all parameters are frozen, too
    answer = question.of(model(ids, types, watch, vectors)).sum()
    weights = [part for layer in sorted(watch.attention) for part in watch.attention[layer]]
    slopes = iter(torch.autograd.grad(answer, weights))
    gathered = torch.zeros(len(pieces.ids), len(pieces.ids))
    for layer in sorted(watch.attention):
        positive = [(part.detach() * next(slopes)).clamp(min=0).mean(0) for part in watch.attention[layer]]
        mixing = torch.block_diag(*positive)  # type: ignore[no-untyped-call]  # [t t]
        gathered = gathered + mixing @ gathered + mixing
    return read_at(model, pieces, question) @ gathered


def occlusion(model: HeadedEncoder, pieces: Pieces, question: Question) -> Tensor:
    """What the answer loses without each word, spread over the word's positions: the reference. [t]"""
    kept = ~np.eye(len(pieces.words), dtype=bool)
    answers = question.of(logits_keeping(model, pieces, np.concatenate([np.ones_like(kept[:1]), kept])))
    word_of = torch.from_numpy(pieces.word_of)
    lost = torch.cat([answers[0] - answers[1:], answers.new_zeros(1)])  # [w + 1] the last for no word, -1
    sizes = torch.cat([torch.bincount(word_of[word_of >= 0], minlength=len(pieces.words)), torch.ones(1)])
    return (lost / sizes)[word_of]


METHODS: dict[str, Callable[[HeadedEncoder, Pieces, Question], Tensor]] = {  # in the order in which they are tried
    "gradient_x_input": gradient_x_input,
    "attention_x_gradient": attention_x_gradient,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
}


def embedded(model: HeadedEncoder, pieces: Pieces) -> Tensor:
    """The token vectors of the input, before place, type and norm. [t d]"""
    return model.encoder.embeddings.tokens(torch.from_numpy(pieces.ids)).detach()


def baseline(model: HeadedEncoder, pieces: Pieces) -> Tensor:
    """The vectors of an input that says nothing: the mask token in the place of every piece of a word. [t d]

    It is what pretraining taught the model to read as a word it is not told. Zeros are something it never met, and
    right before a norm their direction is undefined; they serve where a tokenizer has no mask. Special tokens stay.
    """
    vectors = embedded(model, pieces)
    unsaid = torch.zeros_like(vectors[0])
    if pieces.mask is not None:
        unsaid = model.encoder.embeddings.tokens.weight[pieces.mask].detach()
    return torch.where(torch.from_numpy(pieces.special)[:, None], vectors, unsaid)


def asked(model: HeadedEncoder, pieces: Pieces, question: Question, vectors: Tensor) -> Tensor:
    """The answer for k versions of the input's token vectors. [k t d] -> [k]"""
    ids, types = pieces.packed(np.ones((len(vectors), len(pieces.words)), bool))
    return question.of(model(ids, types, vectors=vectors.flatten(0, 1)))


def gradients(model: HeadedEncoder, pieces: Pieces, question: Question, vectors: Tensor) -> Tensor:
    """The gradient of the answer at k versions of the input's token vectors. [k t d] -> [k t d]"""
    found: list[Tensor] = []
    for some in torch.split(vectors, max(1, MOST_TOKENS // len(pieces.ids))):
        point = some.requires_grad_()
        found += torch.autograd.grad(asked(model, pieces, question, point).sum(), point)
    return torch.cat(found)


def read_at(model: HeadedEncoder, pieces: Pieces, question: Question) -> Tensor:
    """Where the head reads the last states: the share of each position in the answer's gradient there. [t]

    1 at the first position where that is all a classifier takes, the same everywhere where it takes the mean.
    """
    states = model.encoder(*pieces.packed())
    last = states.data.detach().requires_grad_()
    (slope,) = torch.autograd.grad(question.of(model.answers(states.with_data(last))).sum(), last)
    sizes = slope.norm(dim=-1)
    return sizes / sizes.sum().clamp(min=torch.finfo(sizes.dtype).tiny)


@torch.no_grad()
def completeness_gap(model: HeadedEncoder, pieces: Pieces, question: Question, positions: Array) -> float:
    """How far integrated gradients are from adding up to what the answer gains over the baseline's."""
    ends = torch.stack([baseline(model, pieces), embedded(model, pieces)])
    nothing, whole = asked(model, pieces, question, ends).tolist()
    return abs(float(positions.sum()) - (whole - nothing))
