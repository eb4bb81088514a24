"""Attention, rollout and what heads do are what transformers' eager attention gives, on every family."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from headwise.core import kernels, spec
from headwise.core.attention import Attention, Watch
from headwise.core.packed import Packed
from headwise.families.checkpoint import read_model
from headwise.insight.watching import layer_by_layer, watching

FAMILIES = {
    "bert": {},
    "roberta": {"type_vocab_size": 1},
    "distilbert": {},
    "electra": {},
    "modernbert": {},
}
CLASSES = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert", "electra": "Electra"}
LENGTH = 23


@dataclass(frozen=True)
class Case:
    """Our model, one input, and the attention transformers computes of it, layers of [h t t]."""

    model: Any
    pieces: Any
    theirs: list[np.ndarray]
    near: list[int]  # how far each layer sees, in positions


@pytest.fixture(scope="module", params=FAMILIES)
def case(request, tiny, spelled, tmp_path_factory) -> Case:
    place = tmp_path_factory.mktemp(request.param)
    tiny(CLASSES.get(request.param, "ModernBert"), **FAMILIES[request.param]).save_pretrained(place)
    ids = torch.randint(5, 60, (LENGTH,), generator=torch.Generator().manual_seed(3))
    slow = AutoModel.from_pretrained(place, attn_implementation="eager").eval()
    with torch.no_grad():
        theirs = slow(input_ids=ids[None], output_attentions=True).attentions
    model = read_model(place).model.eval()
    windows = [block.attention.window for block in model.encoder.spec.blocks]
    near = [LENGTH if window is None else window for window in windows]
    return Case(model, spelled(ids), [layer[0].numpy() for layer in theirs], near)


def test_the_weights_are_theirs(case):
    seen = watching(case.model, case.pieces)
    assert list(seen.attention) == list(range(len(case.theirs)))
    for layer, theirs in enumerate(case.theirs):
        assert np.abs(seen.attention[layer] - theirs).max() < 1e-5


def test_only_what_was_asked_for_is_kept(case):
    seen = watching(case.model, case.pieces, layers=[1], heads=[3, 0])
    assert list(seen.attention) == [1]
    assert np.abs(seen.attention[1] - case.theirs[1][[3, 0]]).max() < 1e-5
    whole = watching(case.model, case.pieces, layers=())
    assert whole.attention == {}
    assert np.array_equal(whole.rollout, seen.rollout)


def test_rollout_is_the_product_of_half_mixed_layers(case):
    wanted = np.eye(LENGTH)
    for theirs in case.theirs:
        wanted = (theirs.mean(0) / 2 + np.eye(LENGTH) / 2) @ wanted
    rollout = watching(case.model, case.pieces).rollout
    assert np.abs(rollout - wanted).max() < 1e-5
    assert np.allclose(rollout.sum(1), 1, atol=1e-5)


def test_what_each_head_does_is_what_a_plain_loop_finds(case):
    heads = watching(case.model, case.pieces, layers=()).heads
    word_of = case.pieces.word_of
    for layer, theirs in enumerate(case.theirs):
        for head, weights in enumerate(theirs.astype(float)):
            places = range(LENGTH)
            mates = {i: [j for j in places if j != i and word_of[j] == word_of[i] >= 0] for i in places}
            shared = [weights[i, others].sum() for i, others in mates.items() if others]
            entropies = []
            for i in places:
                seen = [weights[i, j] for j in places if abs(i - j) <= case.near[layer]]
                entropies.append(-sum(w * np.log(w) for w in seen if w > 0) / np.log(len(seen)))
            wanted = {
                "previous": np.mean([weights[i, i - 1] for i in range(1, LENGTH)]),
                "first": weights[:, 0].mean(),
                "separator": weights[:, LENGTH - 1].mean(),
                "same_word": np.mean(shared),
                "entropy": np.mean(entropies),
            }
            assert wanted.keys() == heads.keys()
            for name, value in wanted.items():
                assert heads[name][layer, head] == pytest.approx(value, abs=1e-5), name


def test_no_weights_are_written_out_unless_asked_for(case, monkeypatch):
    calls, usual = [], kernels.weights
    monkeypatch.setattr(kernels, "weights", lambda *given, **more: calls.append(1) or usual(*given, **more))
    case.model(*case.pieces.packed())
    assert not calls
    case.model(*case.pieces.packed(), Watch(layers=[1]))
    assert len(calls) == 1


def test_one_layer_at_a_time_is_held(case):
    alive = []
    for weights in layer_by_layer(case.model, case.pieces):
        assert not any(pointer() is not None for pointer in alive)
        alive.append(weakref.ref(weights))
        del weights


def test_outputs_made_through_the_weights_are_the_fast_ones_and_let_gradients_in(case, difference):
    watch = Watch(through=True)
    slow = case.model(*case.pieces.packed(), watch)
    assert difference(slow, case.model(*case.pieces.packed())) < 1e-5
    weights = [watch.attention[layer][0] for layer in watch.attention]
    slopes = torch.autograd.grad(slow[0, 0], weights)
    assert all(slope.shape == each.shape and slope.abs().max() > 0 for slope, each in zip(slopes, weights, strict=True))
    with pytest.raises(ValueError, match="all heads"):
        Watch(through=True, heads=[0])


@torch.no_grad()
def test_shared_key_heads_go_through_written_out_weights_too(redraw):
    layer = redraw(Attention(spec.Attention(n_heads=4, n_kv_heads=2, d_head=4, causal=True), 16), 0.5)
    x = Packed.of([torch.randn(length, 16) for length in (1, 7, 4)])
    assert torch.allclose(layer(x, watch=Watch(through=True)), layer(x), atol=1e-5)
