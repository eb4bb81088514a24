"""The assembled model: neighbours in a batch do not matter, the future is not seen, and every part is optional."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from headwise.core import kernels, spec
from headwise.core.attention import Watch
from headwise.core.packed import Packed
from headwise.core.prepacked import Prepacked, prepack
from headwise.core.transformer import (
    Decoder,
    Encoder,
    EncoderDecoder,
    FeedForward,
    HeadedEncoder,
    Sinusoids,
    initialise,
)

ATTENTION = spec.Attention(n_heads=2, n_kv_heads=2, d_head=8)
BLOCK = spec.Block(ATTENTION, feed_forward=spec.FeedForward(24))
SMALL = spec.Stack(16, spec.Embeddings(vocab_size=20, d_embedding=16, scale=4.0), (BLOCK,) * 2)
MODERN = spec.Stack(
    16,
    spec.Embeddings(20, 16, 1.0, None, norm=spec.Norm()),
    tuple(
        spec.Block(
            replace(ATTENTION, window=window, rotary=100.0, n_kv_heads=1),
            feed_forward=spec.FeedForward(24, "silu", gated=True),
            norm=spec.Norm("rms"),
            pre_norm=True,
        )
        for window in (None, 2)
    ),
    relative_bias=spec.RelativeBias(8, 16),
    final_norm=spec.Norm("rms"),
)
LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def causal(stack: spec.Stack, memory: bool = False) -> spec.Stack:
    """The same stack for a decoder, with attention over a memory if asked for."""
    blocks = (
        replace(block, attention=replace(block.attention, causal=True), memory=ATTENTION if memory else None)
        for block in stack.blocks
    )
    bias = stack.relative_bias and replace(stack.relative_bias, two_sided=False)
    return replace(stack, blocks=tuple(blocks), relative_bias=bias)


def ids(lengths, seed: int = 0) -> Packed:
    generator = torch.Generator().manual_seed(seed)
    return Packed.of([torch.randint(0, 20, (length,), generator=generator) for length in lengths])


@pytest.fixture(scope="module", params=[SMALL, MODERN], ids=["original", "modern"])
def stack(request) -> spec.Stack:
    return request.param


@pytest.fixture(scope="module")
def encoder(stack, redraw) -> Encoder:
    return redraw(Encoder(stack))


@pytest.fixture(scope="module")
def decoder(stack, redraw) -> Decoder:
    return redraw(Decoder(causal(stack)))


@pytest.fixture(scope="module")
def translator(stack, redraw) -> EncoderDecoder:
    return redraw(EncoderDecoder(stack, causal(stack, memory=True)))


def test_the_defaults_are_the_original_transformer():
    block = spec.Block(spec.Attention(causal=True), memory=spec.Attention())
    with torch.device("meta"):
        base = EncoderDecoder(spec.Stack(), spec.Stack(blocks=(block,) * 6))
    sizes = {name: parameter.numel() for name, parameter in base.named_parameters()}
    assert sizes.pop("encoder.embeddings.tokens.weight") == sizes.pop("decoder.embeddings.tokens.weight") == 37000 * 512
    norms, attentions, feed_forwards = 30 * 2 * 512, 18 * 4 * 512 * 513, 12 * (2 * 512 * 2048 + 2048 + 512)
    # With one table of tokens, what the paper rounds to 65 million.
    assert sum(sizes.values()) == norms + attentions + feed_forwards
    assert base.encoder.embeddings.scale == math.sqrt(512)
    assert base.encoder.blocks[0].attention.dropout.p == 0.1


@torch.no_grad()
@given(lengths=LENGTHS, random=st.randoms(use_true_random=False))
def test_neighbours_and_order_do_not_matter(encoder, lengths, random):
    batch = ids(lengths)
    together = encoder(batch).unpack()
    alone = [encoder(Packed.of([part])).data for part in batch.unpack()]
    order = random.sample(range(len(lengths)), len(lengths))
    shuffled = encoder(Packed.of([batch.unpack()[row] for row in order])).unpack()
    for place, row in enumerate(order):
        assert torch.allclose(together[row], alone[row], atol=1e-5)
        assert torch.allclose(together[row], shuffled[place], atol=1e-5)


@torch.no_grad()
@given(lengths=LENGTHS, random=st.randoms(use_true_random=False))
def test_a_decoder_never_sees_the_future(decoder, lengths, random):
    before = ids(lengths)
    row = random.randrange(len(lengths))
    place = random.randrange(lengths[row])
    changed = [part.clone() for part in before.unpack()]
    changed[row][place] = (changed[row][place] + 1) % 20
    was, now = decoder(before).unpack(), decoder(Packed.of(changed)).unpack()
    assert all(torch.equal(a, b) for other, (a, b) in enumerate(zip(was, now, strict=True)) if other != row)
    assert torch.equal(was[row][:place], now[row][:place])
    assert not torch.allclose(was[row][place], now[row][place], atol=1e-4)


@torch.no_grad()
@given(
    lengths=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=5),
    even=st.sampled_from(["no side", "sources", "targets"]),
)
def test_a_translation_depends_on_its_own_source_alone(translator, lengths, even):
    sources, targets = (
        ids([pair[side] if even != name else 7 for pair in lengths], seed=side)
        for side, name in enumerate(["sources", "targets"])
    )
    together = translator(sources, targets).unpack()
    for ours, source, target in zip(together, sources.unpack(), targets.unpack(), strict=True):
        assert torch.allclose(ours, translator(Packed.of([source]), Packed.of([target])).data, atol=1e-5)


@torch.no_grad()
def test_watching_a_decoder_shows_its_memory_too_and_costs_only_the_layers_asked_for(translator):
    sources, targets, watch = ids([5, 9]), ids([4, 2]), Watch(layers=[1], heads=[1])
    assert torch.equal(translator(sources, targets, watch).data, translator(sources, targets).data)
    assert {layer: [tuple(part.shape) for part in parts] for layer, parts in watch.memory.items()} == {
        1: [(1, 4, 5), (1, 2, 9)]
    }
    assert {layer: [tuple(part.shape) for part in parts] for layer, parts in watch.attention.items()} == {
        1: [(1, 4, 4), (1, 2, 2)]
    }
    for part in (*watch.attention[1], *watch.memory[1]):
        assert torch.allclose(part.sum(-1), torch.ones(part.shape[:2]))


@torch.no_grad()
def test_a_classifier_gives_each_sequence_its_own_answer(redraw):
    model = redraw(HeadedEncoder(SMALL, spec.Head(3, pool="mean", norm=spec.Norm())))
    batch = ids([4, 1, 30])
    logits = model(batch)
    assert logits.shape == (3, 3)
    alone = torch.cat([model(Packed.of([part])) for part in batch.unpack()])
    assert torch.allclose(logits, alone, atol=1e-5)


@given(lengths=LENGTHS)
def test_first_positions_alone_are_what_they_are_among_all(encoder, lengths):
    some = ids(lengths)
    with torch.no_grad():
        alone, among = encoder(some, first=True), encoder(some).firsts()
    assert alone.lengths.each == (1,) * len(lengths)
    assert torch.allclose(alone.data, among.data, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.Linear, Prepacked])
def test_a_head_on_first_positions_computes_no_others_in_the_last_block(stack, kind, redraw):
    model = redraw(HeadedEncoder(stack, spec.Head(3))).eval()
    if kind is Prepacked:
        prepack(model, first_only=True)
    some, rows = ids((5, 30, 3, 29)), []
    feed_forward = model.encoder.blocks[-1].feed_forward.layer
    feed_forward.register_forward_hook(lambda _, given, made: rows.append(len(given[0].data)))
    watch = Watch()
    with torch.inference_mode(kind is Prepacked):
        wanted = model.answers(model.encoder(some))
        assert torch.allclose(model(some), wanted, atol=1e-5)
        assert torch.allclose(model.outputs(some, torch.zeros(67, dtype=torch.int64)), wanted, atol=1e-5)
        assert torch.equal(model(some, watch=watch), wanted)
    assert rows == [67, 4, 4, 67] and watch.attention[1][0].shape[1:] == (5, 5)  # a watch sees all


def test_plain_kernels_make_every_position(monkeypatch):
    model = HeadedEncoder(SMALL, spec.Head(3))
    assert model.first_only and not HeadedEncoder(SMALL, spec.Head(3, pool="mean")).first_only
    monkeypatch.setattr(kernels, "plain", lambda: True)
    assert not model.first_only


def test_gradients_are_the_same_for_first_positions_alone(stack, redraw):
    model = redraw(HeadedEncoder(stack, spec.Head(3))).eval()
    found = []
    for made in (model(ids((5, 30, 3, 29))), model.answers(model.encoder(ids((5, 30, 3, 29))))):
        model.zero_grad()
        (made * torch.arange(3.0)).sum().backward()
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(one, found[1][name], atol=1e-5) for name, one in found[0].items())


def test_sinusoids_are_those_of_the_paper_in_halves():
    table = Sinusoids()(torch.arange(50), torch.empty(50, 6)).double()
    for place in (0, 1, 49):
        for i in range(3):
            angle = place / 10000 ** (2 * i / 6)
            assert table[place, i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[place, i + 3].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_with_dropout_means_everywhere_there_is_one():
    def rates(stack: spec.Stack) -> set[float]:
        model = EncoderDecoder(stack, causal(stack, memory=True).with_dropout(stack.embeddings.dropout))
        parts = list(model.modules())
        return {part.p for part in parts if isinstance(part, torch.nn.Dropout)} | {
            part.spec.dropout for part in parts if hasattr(part, "scale") and hasattr(part, "query")
        }

    inner = replace(SMALL, blocks=(replace(BLOCK, feed_forward=spec.FeedForward(24, dropout=0.3)),))
    assert rates(inner.with_dropout(0.25)) == {0.25}
    assert rates(inner.with_dropout(0.0)) == {0.0}
    assert rates(SMALL.with_dropout(0.25)) == {0.25, 0.0}  # the original has none between its two linear layers


def test_dropout_acts_in_training_only(stack, redraw):
    model, batch = redraw(Encoder(stack)), ids([4, 9])
    assert torch.equal(model(batch).data, model(batch).data)
    model.train()
    assert not torch.equal(model(batch).data, model(batch).data)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_what_feed_forward_makes_anew_gives_the_same_gradients_and_is_not_held(monkeypatch, redraw, gated, dropout):
    layer = redraw(FeedForward(spec.FeedForward(50, "gelu", gated=gated, dropout=dropout), 16)).train()
    x = ids([4, 9]).with_data(torch.randn(13, 16))
    inner = {}  # where the numbers between the layers lie -> the numbers

    def hold(tensor):
        if tensor.shape == (13, 50) and tensor.dtype == torch.float32:
            inner[tensor.data_ptr()] = tensor
        return tensor

    def gradients(most):
        monkeypatch.setattr(kernels, "INNER_HELD", most)
        torch.manual_seed(0)
        inner.clear()
        with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
            y = layer(x)
        return torch.autograd.grad(y.square().sum(), [*layer.parameters()]), len(inner)

    (anew, few), (held, more) = gradients(649), gradients(650)
    assert all(map(torch.equal, anew, held)) and few == 1 + gated < more


def test_initialising_draws_from_the_generator_alone():
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        model = HeadedEncoder(SMALL, spec.Head(norm=spec.Norm()))
        initialise(model, torch.Generator().manual_seed(seed), std=0.3)
        return model.state_dict()

    first, same, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["head.out.weight"], other["head.out.weight"])
    assert first["encoder.embeddings.tokens.weight"].std().item() == pytest.approx(0.3, rel=0.2)
    assert not any(weight.any() for name, weight in first.items() if name.endswith("bias"))
    assert (first["head.norm.weight"] == 1).all() and (first["encoder.blocks.0.attention.after.weight"] == 1).all()


@torch.no_grad()
def test_vectors_stand_in_for_those_of_the_tokens(encoder):
    batch = ids((3, 1, 9))
    own = encoder.embeddings.tokens(batch.data)
    assert torch.equal(encoder(batch, vectors=own).data, encoder(batch).data)
    other = encoder.embeddings.tokens((batch.data + 1) % 20)
    changed = encoder(batch.with_data((batch.data + 1) % 20))
    assert torch.equal(encoder(batch, vectors=other).data, changed.data)
