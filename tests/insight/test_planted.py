"""One word decides a tag, an answer or a number: it comes first, whoever is asked."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from headwise.core import spec
from headwise.core.packed import Packed
from headwise.core.transformer import HeadedEncoder, initialise
from headwise.insight.attribution import attribution
from headwise.insight.faithfulness import receipt
from headwise.insight.question import Pieces, Question, Word
from headwise.insight.subject import Subject, in_place, of_answer, of_number, of_tag

MASK, TRIGGER, LENGTH = 4, 10, 12
TAGS = ("O", "B-X")
HEADS = {
    "a tag": spec.Head(2, pool=None, dense=False, dropout=0.0),
    "an answer": spec.Head(2, pool=None, dense=False, dropout=0.0),
    "a number": spec.Head(1, pool="mean", dense=False, dropout=0.0),
}


def planted(random: np.random.Generator, masked: float = 0.0) -> tuple[np.ndarray, int]:
    """Random words between special tokens, and the place of the trigger among them, at neither end."""
    ids = random.integers(12, 60, LENGTH + 2)
    ids[random.random(LENGTH + 2) < masked] = MASK  # as pretraining would have shown it
    at = int(random.integers(2, LENGTH - 1))
    ids[[0, -1]], ids[at + 1] = (2, 3), TRIGGER
    return ids, at


def loss_of(kind: str, outputs: torch.Tensor, ids: np.ndarray, at: list[int]) -> torch.Tensor:
    """The trigger makes the first word's tag B-X, is right before the answer, and is worth 3. outputs of all rows"""
    there = torch.from_numpy((ids == TRIGGER).any(1).astype(np.int64))
    if kind == "a number":
        return nn.functional.mse_loss(outputs[:, 0], 3.0 * there)
    rows = outputs.view(len(ids), LENGTH + 2, 2)
    if kind == "a tag":
        return nn.functional.cross_entropy(rows[:, 1], there)
    places = torch.tensor(at) + 2  # one for [CLS], one for what follows
    return sum(nn.functional.cross_entropy(rows[..., end], places) for end in (0, 1))


@cache
def trained(kind: str) -> HeadedEncoder:
    """A small encoder that has learnt it."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    attention = spec.Attention(n_heads=4, n_kv_heads=4, d_head=8, dropout=0.0)
    block = spec.Block(attention=attention, feed_forward=spec.FeedForward(64, "gelu"), dropout=0.0)
    embeddings = spec.Embeddings(60, 32, 1.0, "learned", 48, n_types=2, norm=spec.Norm(), dropout=0.0)
    model = HeadedEncoder(spec.Stack(32, embeddings, (block, block)), HEADS[kind])
    initialise(model, torch.Generator().manual_seed(0), 0.1)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.1)
    for _ in range(600):
        drawn = [planted(random, random.random() / 2) for _ in range(32)]
        ids = np.stack([row for row, _ in drawn])
        if kind != "an answer":
            ids[::2][ids[::2] == TRIGGER] = random.integers(12, 60)
        loss = loss_of(kind, model(*batch(ids)), ids, [at for _, at in drawn])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.05:
            break
    return model.eval()


def batch(ids: np.ndarray) -> tuple[Packed, torch.Tensor]:
    return Packed.of(list(torch.from_numpy(ids))), torch.zeros(ids.size, dtype=torch.long)


def asked(kind: str, random: np.random.Generator) -> tuple[Subject, Pieces, int]:
    """What is asked about one text, and the word that decides it."""
    ids, at = planted(random)
    words = tuple(Word(f"w{number}", 0, 2, int(kind == "an answer")) for number in range(LENGTH))
    word_of = np.concatenate([[-1], np.arange(LENGTH), [-1]])
    names = tuple(map(str, ids.tolist()))
    text = ("", "w0") if kind == "an answer" else "w0"
    own = Pieces(text, ids, np.zeros(LENGTH + 2, np.int64), names, words, word_of, mask=MASK)
    model = trained(kind)
    if kind == "a number":
        return of_number(model, "stars", 3.0), own, at
    own = in_place(own)
    return (of_tag(model, TAGS, own, "w0"), own, at) if kind == "a tag" else (of_answer(model, own, LENGTH), own, at)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_the_planted_word_comes_first(method, kind):
    random, first, trusted = np.random.default_rng(1), [], []
    for _ in range(40):
        subject, own, at = asked(kind, random)
        question = Question(1 if kind == "a tag" else 0)
        found = attribution(method, subject.model, own, subject.towards(question))
        first.append(found.words.argmax() == at)
        trusted.append(receipt(subject, own, question, found.words).trusted)
    assert np.mean(first) >= 0.95
    assert np.mean(trusted) >= 0.8
