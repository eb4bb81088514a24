"""The parity tests have teeth: each of these small mistakes in a family's file would make them fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from headwise.core import spec
from headwise.families import FAMILIES
from headwise.families.checkpoint import read_model
from headwise.families.family import Family

Mutation = Callable[[Family], Family]


def names(*moves: tuple[str, str]) -> Mutation:
    """Each of our names in the family's table, with parts replaced (swapped, where both ways are given)."""

    def moved(ours: Any) -> Any:
        if isinstance(ours, tuple):
            return tuple(moved(part) for part in ours)
        return next((ours.replace(old, new) for old, new in moves if old in ours), ours)

    return lambda family: replace(family, encoder={theirs: moved(ours) for theirs, ours in family.encoder.items()})


def swapped(one: str, other: str) -> Mutation:
    return names((one, other), (other, one))


def stack(change: Callable[[spec.Stack], spec.Stack]) -> Mutation:
    return lambda family: replace(family, stack=lambda config: change(family.stack(config)))


def head(**changes: Any) -> Mutation:
    def changed(family):
        head = family.heads["ForSequenceClassification"]
        wrong = replace(head, spec=lambda *rest: replace(head.spec(*rest), **changes))
        return replace(family, heads={"ForSequenceClassification": wrong})

    return changed


def embeddings(change: Callable[[spec.Embeddings], spec.Embeddings]) -> Mutation:
    return stack(lambda this: replace(this, embeddings=change(this.embeddings)))


def blocks(change: Callable[[spec.Block], spec.Block]) -> Mutation:
    return stack(lambda this: replace(this, blocks=tuple(change(block) for block in this.blocks)))


def attention(change: Callable[[spec.Attention], spec.Attention]) -> Mutation:
    return blocks(lambda this: replace(this, attention=change(this.attention)))


def windows(by: int) -> Mutation:
    return attention(lambda this: this if this.window is None else replace(this, window=this.window + by))


def norm_first(family: Family) -> Family:
    return names((".after", ".before"))(blocks(lambda this: replace(this, pre_norm=True))(family))


coarse = blocks(lambda this: replace(this, norm=replace(this.norm, eps=1e-5)))
tanh_gelu = blocks(lambda this: replace(this, feed_forward=replace(this.feed_forward, activation="gelu_tanh")))

MUTANTS: dict[str, tuple[str, Mutation]] = {
    "norms swapped": ("Bert", swapped("attention.after", "feed_forward.after")),
    "query and key swapped": ("Bert", swapped("query", "key")),
    "key and value swapped": ("Bert", swapped("key", "value")),
    "epsilon of the blocks": ("Bert, faint", coarse),
    "epsilon of the embeddings": ("Bert, faint", embeddings(lambda this: replace(this, norm=spec.Norm(eps=1e-5)))),
    "epsilon, DistilBERT": ("DistilBert, faint", coarse),
    "epsilon, ModernBERT": (
        "ModernBert, faint",
        blocks(lambda this: replace(this, norm=spec.Norm(eps=1e-6, bias=False))),
    ),
    "root mean square for a layer norm": (
        "ModernBert",
        blocks(lambda this: replace(this, norm=replace(this.norm, kind="rms"))),
    ),
    "gelu by tanh": ("Bert", tanh_gelu),
    "gelu by tanh, gated": ("ModernBert", tanh_gelu),
    "norm before the layer": ("Bert", norm_first),
    "scores not scaled": ("Bert", attention(lambda this: replace(this, scaled=False))),
    "embeddings scaled": ("Bert", embeddings(lambda this: replace(this, scale=32**0.5))),
    "only the past seen": ("Roberta", attention(lambda this: replace(this, causal=True))),
    "places counted from one further": (
        "Roberta",
        embeddings(lambda this: replace(this, n_positions=this.n_positions - 1, first_position=3)),
    ),
    "heads twice as many, half as wide": (
        "Electra",
        attention(lambda this: replace(this, n_heads=8, n_kv_heads=8, d_head=4)),
    ),
    "head's activation": ("Electra", head(activation="gelu_tanh")),
    "head's pooling": ("ModernBert", head(pool="mean")),
    "gate and up swapped": ("ModernBert", swapped(".gate", ".up")),
    "window wider by one": ("ModernBert", windows(+1)),
    "window narrower by one": ("ModernBert", windows(-1)),
    "window everywhere": ("ModernBert", attention(lambda this: replace(this, window=4))),
    "rotary bases swapped": (
        "ModernBert",
        attention(lambda this: replace(this, rotary=160_000.0 if this.window else 10_000.0)),
    ),
}


@pytest.fixture(scope="module")
def peer(tiny, ragged, tmp_path_factory):
    """The name of a peer -> its directory, a batch, the logits it should have and its model_type."""

    @cache
    def made(name: str):
        name, _, faint = name.partition(", ")
        theirs = tiny(name, **{"std": 0.03, "norms": 0.05} if faint else {})
        directory = tmp_path_factory.mktemp(name)
        theirs.save_pretrained(directory)
        ids, padded = ragged(pad=theirs.config.pad_token_id)
        return directory, ids, theirs(**padded).logits, theirs.config.model_type

    return made


@torch.no_grad()
@pytest.mark.parametrize(("name", "mutation"), MUTANTS.values(), ids=MUTANTS)
def test_a_wrong_family_fails_parity(name, mutation, peer, difference, monkeypatch):
    directory, ids, wanted, kind = peer(name)
    assert difference(read_model(directory).model.eval()(ids), wanted) < 1e-5
    monkeypatch.setitem(FAMILIES, kind, mutation(FAMILIES[kind]))
    assert difference(read_model(directory).model.eval()(ids), wanted) > 1e-5
