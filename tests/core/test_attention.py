"""The formula, the masks and the places, each against the plainest way to write it; and packing changes nothing."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwise.core import kernels, spec
from headwise.core.attention import Attention, RelativeBias, Watch, attention, dense_mask, rotate
from headwise.core.packed import Lengths, Packed

D_MODEL = 16
PLAIN = spec.Attention(n_heads=4, n_kv_heads=4, d_head=4, dropout=0.0)
LAYERS = {
    "plain": PLAIN,
    "causal": replace(PLAIN, causal=True),
    "window": replace(PLAIN, window=2),
    "causal window": replace(PLAIN, causal=True, window=3),
    "rotary": replace(PLAIN, rotary=100.0),
    "shared keys": replace(PLAIN, n_kv_heads=2),
    "shared keys, causal, rotary": replace(PLAIN, n_kv_heads=1, causal=True, rotary=100.0),
    "not scaled": replace(PLAIN, scaled=False),
    "wide heads without bias": replace(PLAIN, d_head=10, bias=False, out_bias=False),
}
LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def by_hand(layer: Attention, x: np.ndarray, memory: np.ndarray, bias: np.ndarray | float) -> np.ndarray:
    """One sequence [t d] over a memory [s d], head by head and position by position, in numpy."""
    this, state = layer.spec, {name: weight.double().numpy() for name, weight in layer.state_dict().items()}
    query, key, value = (
        side @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0.0)
        for name, side in (("query", x), ("key", memory), ("value", memory))
    )

    def turned(vector: np.ndarray, place: int) -> np.ndarray:
        if this.rotary is None:
            return vector
        half = this.d_head // 2
        pairs = vector[:half] + 1j * vector[half:]
        pairs = pairs * np.exp(1j * place * this.rotary ** (-np.arange(half) / half))
        return np.concatenate([pairs.real, pairs.imag])

    mixed = np.zeros((len(x), this.n_heads, this.d_head))
    for head in range(this.n_heads):
        mine = slice(head * this.d_head, (head + 1) * this.d_head)
        shared = head // (this.n_heads // this.n_kv_heads)
        theirs = slice(shared * this.d_head, (shared + 1) * this.d_head)
        for t in range(len(x)):
            scores = np.full(len(memory), -np.inf)
            for s in range(len(memory)):
                seen = (not this.causal or s <= t) and (this.window is None or abs(s - t) <= this.window)
                if seen:
                    product = turned(query[t, mine], t) @ turned(key[s, theirs], s)
                    scores[s] = product / (math.sqrt(this.d_head) if this.scaled else 1)
            added = bias if isinstance(bias, float) else bias[head, t]
            mixed[t, head] = softmax(scores + added) @ value[:, theirs]
    return mixed.reshape(len(x), -1) @ state["out.weight"].T + state.get("out.bias", 0.0)


@pytest.fixture(params=LAYERS.values(), ids=LAYERS)
def layer(request, redraw) -> Attention:
    return redraw(Attention(request.param, D_MODEL), 0.5)


def random_sequences(*lengths: int) -> Packed:
    generator = torch.Generator().manual_seed(sum(lengths))
    return Packed.of([torch.randn(length, D_MODEL, generator=generator) for length in lengths])


def test_the_formula_is_the_one_in_the_paper():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 5, 4), torch.randn(3, 7, 4), torch.randn(3, 7, 2)
    bias, mask = torch.randn(5, 7), torch.rand(3, 5, 7) > 0.3
    mask[..., 0] = True
    q, k, v, b = (part.double().numpy() for part in (query, key, value, bias))
    plain = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(4))
    assert np.abs(attention(query, key, value).numpy() - plain @ v).max() < 1e-5
    full = softmax(np.where(mask.numpy(), q @ k.transpose(0, 2, 1) * 0.7 + b, -np.inf))
    fast = attention(query, key, value, mask=mask, bias=bias, scale=0.7)
    slow, weights = attention(query, key, value, mask=mask, bias=bias, scale=0.7, watch=True)
    assert np.abs(fast.numpy() - full @ v).max() < 1e-5
    assert np.abs(slow.numpy() - full @ v).max() < 1e-5
    assert np.abs(weights.numpy() - full).max() < 1e-6
    assert (weights[~mask] == 0).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 8), st.floats(0.1, 3))
def test_the_weights_of_a_row_sum_to_1_and_watching_changes_nothing(t, s, w, size):
    torch.manual_seed(0)
    query, key, value = torch.randn(2, t, w) * size, torch.randn(2, s, w), torch.randn(2, s, w)
    watched, weights = attention(query, key, value, watch=True)
    assert weights.shape == (2, t, s) and (weights >= 0).all()
    assert torch.allclose(weights.sum(-1), torch.ones(2, t), atol=1e-6)
    assert torch.allclose(watched, attention(query, key, value), atol=1e-5)


@torch.no_grad()
def test_a_layer_is_what_numpy_makes_of_each_sequence_alone(layer):
    x = random_sequences(1, 20, 4, 21, 9)
    wanted = [by_hand(layer, part, part, 0.0) for part in (part.double().numpy() for part in x.unpack())]
    assert np.abs(layer(x).numpy() - np.concatenate(wanted)).max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("sources", [(3, 17, 2, 8), (6, 6, 6, 6)], ids=["ragged memory", "even memory"])
@pytest.mark.parametrize("targets", [(9, 1, 30, 4), (5, 5, 5, 5)], ids=["ragged", "even"])
def test_each_sequence_looks_into_its_own_memory(targets, sources, redraw):
    layer = redraw(Attention(PLAIN, D_MODEL), 0.5)
    x, memory, watch = random_sequences(*targets), random_sequences(*sources), Watch()
    wanted = [
        by_hand(layer, own.double().numpy(), other.double().numpy(), 0.0)
        for own, other in zip(x.unpack(), memory.unpack(), strict=True)
    ]
    assert np.abs(layer(x, memory, watch=watch).numpy() - np.concatenate(wanted)).max() < 1e-5
    assert [weights.shape for weights in watch.memory[0]] == [(4, t, s) for t, s in zip(targets, sources, strict=True)]
    assert not watch.attention


@torch.no_grad()
@pytest.mark.parametrize("two_sided", [True, False])
def test_a_relative_bias_is_added_to_the_scores(two_sided, redraw):
    this = replace(PLAIN, causal=not two_sided)
    layer = redraw(Attention(this, D_MODEL), 0.5)
    bias = redraw(RelativeBias(spec.RelativeBias(8, 20, two_sided), 4), 1.0)
    x = random_sequences(12, 1, 40)
    wanted = [
        by_hand(layer, part.double().numpy(), part.double().numpy(), bias(places, places).double().numpy())
        for part, places in ((part, torch.arange(len(part))) for part in x.unpack())
    ]
    assert np.abs(layer(x, bias=bias).numpy() - np.concatenate(wanted)).max() < 1e-5


def test_buckets_of_distance_are_exact_nearby_and_widen():
    forward = RelativeBias(spec.RelativeBias(8, 16, two_sided=True), 1).bucket(torch.tensor([-99, -4, -1, 0, 1, 4, 99]))
    assert forward.tolist() == [3, 2, 1, 0, 5, 6, 7]
    past = RelativeBias(spec.RelativeBias(8, 16, two_sided=False), 1).bucket(torch.tensor([-99, -6, -3, -1, 0, 5]))
    assert past.tolist() == [7, 5, 3, 1, 0, 0]


@torch.no_grad()
def test_watched_weights_give_the_fast_output_back(layer):
    x, watch = random_sequences(1, 20, 4, 21, 9), Watch()
    fast = layer(x, watch=watch, layer=5)
    assert torch.equal(fast, layer(x))
    value = x.with_data(layer.value(x.data).unflatten(1, (-1, layer.spec.d_head))).unpack()
    groups = layer.spec.n_heads // layer.spec.n_kv_heads
    slow = [
        layer.out((weights @ part.transpose(0, 1).repeat_interleave(groups, 0)).transpose(0, 1).flatten(1))
        for weights, part in zip(watch.attention[5], value, strict=True)
    ]
    assert torch.allclose(fast, torch.cat(slow), atol=1e-5)
    assert all(torch.allclose(weights.sum(-1), torch.ones(weights.shape[:2])) for weights in watch.attention[5])


@torch.no_grad()
def test_watched_weights_are_0_where_the_mask_is(layer):
    x, watch = random_sequences(1, 12, 5), Watch()
    layer(x, watch=watch)
    mask = dense_mask(x.lengths, x.lengths, layer.spec)
    for weights, start in zip(watch.attention[0], x.lengths.starts.tolist(), strict=True):
        own = slice(start, start + weights.shape[-1])
        assert torch.equal(weights > 0, mask[own, own].expand_as(weights))


CROSS, CAUSAL, WINDOW, BOTH, MEMORY = (
    # 3 + 2 positions
    """
    xxx..
    xxx..
    xxx..
    ...xx
    ...xx
    """,
    """
    x....
    xx...
    xxx..
    ...x.
    ...xx
    """,
    # 4 + 2 positions
    """
    xx....
    xxx...
    .xxx..
    ..xx..
    ....xx
    ....xx
    """,
    """
    x.....
    xx....
    .xx...
    ..xx..
    ....x.
    ....xx
    """,
    # 2 + 1 positions look at 1 + 3
    """
    x...
    x...
    .xxx
    """,
)


@pytest.mark.parametrize(
    ("picture", "targets", "sources", "layer"),
    [
        (CROSS, (3, 2), (3, 2), PLAIN),
        (CAUSAL, (3, 2), (3, 2), replace(PLAIN, causal=True)),
        (WINDOW, (4, 2), (4, 2), replace(PLAIN, window=1)),
        (BOTH, (4, 2), (4, 2), replace(PLAIN, window=1, causal=True)),
        (MEMORY, (2, 1), (1, 3), PLAIN),
    ],
    ids=["all", "causal", "window", "causal window", "memory"],
)
def test_the_mask_of_a_batch_looks_like_this(picture, targets, sources, layer):
    mask = dense_mask(Lengths(targets), Lengths(sources), layer)
    assert ["".join(".x"[seen] for seen in row) for row in mask.tolist()] == picture.split()


def test_turning_keeps_lengths_and_depends_on_distance_alone():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 8).expand(6, 1, 8)
    turned = rotate(x, torch.arange(6), 10.0)
    assert torch.equal(turned[0], x[0])
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1))
    products = turned[:, 0] @ turned[:, 0].T
    for distance in range(6):
        diagonal = products.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-5)


@torch.no_grad()
@given(LENGTHS, st.sampled_from(list(LAYERS)))
def test_packed_attention_is_that_of_one_sequence_at_a_time(lengths, name):
    torch.manual_seed(0)
    layer, x = Attention(LAYERS[name], D_MODEL).eval(), random_sequences(*lengths)
    alone = torch.cat([layer(Packed.of([part])) for part in x.unpack()])
    assert torch.allclose(layer(x), alone, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_plain_kernels_are_the_fast_ones_formula(dtype, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, n, 9, 8, generator=generator).to(dtype) for n in (4, 2, 2))
    fast = kernels.attend(query, key, value, mask=None, bias=None, scale=None, dropout=0.0)
    monkeypatch.setattr(kernels, "plain", lambda: True)
    assert not kernels.has_bfloat16() and not kernels.has_layouts()
    plain = kernels.attend(query, key, value, mask=None, bias=None, scale=None, dropout=0.0)
    assert fast.dtype == plain.dtype == dtype
    assert (fast - plain).abs().max() < (1e-6 if dtype == torch.float32 else 0.03)


@pytest.mark.parametrize("keys", [7, kernels.ASKED_SHORT + 2])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2)])
def test_the_kernels_of_bfloat16_are_the_formula_within_its_rounding(heads, kv_heads, keys):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    query, key, value = draw(2, heads, 9, 8), draw(2, kv_heads, keys, 8), draw(2, kv_heads, keys, 8)
    mask, bias = draw(2, 1, 9, keys) > -1, draw(heads, 9, keys)
    sides = []
    for dtype in (torch.float32, torch.bfloat16):
        parts = [part.to(dtype, copy=True).requires_grad_() for part in (query, key, value)]
        y = kernels.attend(*parts, mask=mask, bias=bias.to(dtype), scale=None, dropout=0.0)
        y.sum().backward()
        sides.append([y, *(part.grad for part in parts)])
        asked = [part.detach() for part in parts]  # by another kernel, or up to another length
        sides[-1].append(kernels.attend(*asked, mask=mask, bias=bias.to(dtype), scale=None, dropout=0.0))
    for exact, rounded in zip(*sides, strict=True):
        assert rounded.dtype == torch.bfloat16 and rounded.shape == exact.shape
        assert (exact - rounded.float()).abs().max() < 0.03 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("plain", [False, True])
def test_dropout_drops_its_share_and_keeps_the_mean(share, dtype, plain, monkeypatch):
    monkeypatch.setattr(kernels, "plain", lambda: plain)
    x = torch.ones(257, 411, dtype=dtype, requires_grad=True)  # an odd number of them
    torch.manual_seed(0)
    made = kernels.dropped(x, share)
    torch.manual_seed(0)
    assert torch.equal(kernels.dropped(x, share), made) and not torch.equal(kernels.dropped(x, share), made)
    assert made.dtype == dtype and (made == 0).float().mean().item() == pytest.approx(share, abs=0.005)
    assert made.float().mean().item() == pytest.approx(1, abs=0.01) and made.unique().numel() == 2
    drawn = (made == 0).float()  # neither rows, nor columns, nor neighbours go together
    for part in (drawn.mean(0), drawn.mean(1)):
        assert (part - share).abs().max() < 6 * (share * (1 - share) / 257) ** 0.5
    assert (drawn[:, 1:] * drawn[:, :-1]).mean().item() == pytest.approx(share**2, abs=0.01)
    made.sum().backward()
    assert torch.equal(x.grad, made.detach())


@pytest.mark.parametrize("bias_dtype", [torch.float32, torch.bfloat16])  # a table of biases stays in float32
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2)])
def test_attention_with_dropout_has_the_gradients_of_its_formula(heads, kv_heads, dtype, bias_dtype):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 9, heads, 8), (2, 11, kv_heads, 8), (2, 11, kv_heads, 8)]
    drawn = [torch.randn(*shape, generator=generator).transpose(1, 2) for shape in shapes]  # as heads are cut
    drawn.append(torch.randn(heads, 9, 11, generator=generator))
    mask = torch.rand(2, 1, 1, 11, generator=generator) > 0.3
    sides = []
    for kind, made in ((torch.float32, by_formula), (dtype, kernels.attend)):
        kinds = [kind] * 3 + [kind if kind == torch.float32 else bias_dtype]
        parts = [part.to(each, copy=True).requires_grad_() for part, each in zip(drawn, kinds, strict=True)]
        query, key, value, bias = parts
        torch.manual_seed(1)
        y = made(query, key, value, mask=mask, bias=bias, scale=0.3, dropout=0.2)
        (y.float() ** 2).sum().backward()
        sides.append([y, *(part.grad for part in parts)])
    for plain, ours in zip(*sides, strict=True):
        assert ours.dtype in (dtype, bias_dtype) and ours.shape == plain.shape
        assert (plain - ours.float()).abs().max() < (1e-5 if dtype == torch.float32 else 0.05) * plain.abs().max()


def by_formula(query, key, value, *, mask, bias, scale, dropout):
    """Attention with dropout as it is written, its gradients left to PyTorch, with the draws of the kernel."""
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
    mixing = (query @ key.mT * scale + bias).masked_fill(~mask, -math.inf).softmax(-1)
    return mixing * kernels.kept(mixing.shape, dropout) / (1 - dropout) @ value


@pytest.mark.parametrize(("most", "weights"), [(648, [(648, 4)]), (647, [])])
def test_dropout_holds_a_byte_a_number_and_attention_few_weights(monkeypatch, most, weights):
    monkeypatch.setattr(kernels, "WEIGHTS_HELD", most)
    held = []

    def hold(tensor):
        held.append(tensor)
        return tensor

    query, key, value = (torch.randn(2, 4, 9, 8, requires_grad=True) for _ in range(3))
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        y = kernels.attend(query, key, value, mask=None, bias=None, scale=None, dropout=0.1)
        kernels.dropped(y, 0.1)
    sizes = [(tensor.numel(), tensor.element_size()) for tensor in held]
    assert sorted(sizes) == sorted([(576, 4)] * 3 + weights + [(648, 1), (576, 1)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("limited", [False, True])
def test_weights_made_anew_give_the_same_gradients(monkeypatch, dtype, limited):
    query, key, value = (torch.randn(2, 4, 9, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    bias = torch.randn(4, 9, 9, dtype=dtype, requires_grad=True) if limited else None
    mask = torch.ones(9, 9, dtype=torch.bool).tril() if limited else None
    given = [query, key, value, *([] if bias is None else [bias])]

    def gradients(most):
        monkeypatch.setattr(kernels, "WEIGHTS_HELD", most)
        torch.manual_seed(0)
        y = kernels.attend(query, key, value, mask=mask, bias=bias, scale=None, dropout=0.1)
        return torch.autograd.grad(y.square().sum(), given)

    assert all(map(torch.equal, gradients(0), gradients(1000)))


def test_dropout_has_a_second_derivative_and_attention_with_it_says_that_it_has_none():
    x = torch.randn(5, requires_grad=True)
    (first,) = torch.autograd.grad(kernels.dropped(x, 0.5).pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second * x, 2 * first)
    query, key, value = (torch.randn(2, 4, 9, 8, requires_grad=True) for _ in range(3))
    y = kernels.attend(query, key, value, mask=None, bias=None, scale=None, dropout=0.1)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(y.sum(), query, create_graph=True)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_dropout_of_nothing_and_of_all(share):
    x = torch.randn(3, 5)
    assert torch.equal(kernels.dropped(x, share), x * (1 - share))


@pytest.mark.parametrize("plain", [False, True])
def test_draws_of_a_thread_follow_from_its_generator_alone(monkeypatch, plain):
    monkeypatch.setattr(kernels, "plain", lambda: plain)
    x = torch.ones(5, 7)

    def drawn(seed, others=False):
        made = []
        with kernels.SameDraws(torch.Generator().manual_seed(seed)):
            for _ in range(3):
                made.append(kernels.dropped(x, 0.5))
                if others:
                    thread = threading.Thread(target=drawn, args=(2,))
                    thread.start()
                    thread.join()
                    kernels.dropped(torch.ones(3), 0)
        return torch.cat(made)

    assert torch.equal(drawn(1), drawn(1, others=True)) and not torch.equal(drawn(1), drawn(2))
    torch.manual_seed(1)
    assert torch.equal(torch.cat([kernels.dropped(x, 0.5) for _ in range(3)]), drawn(1))  # outside, PyTorch's own


def test_attention_with_dropout_has_the_mean_of_attention_without():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 9, 8, generator=generator) for _ in range(3))
    given = {"mask": torch.arange(9)[None] < 7, "bias": None, "scale": None}
    torch.manual_seed(0)
    drawn = torch.stack([kernels.attend(query, key, value, dropout=0.2, **given) for _ in range(3000)])
    expected = kernels.attend(query, key, value, dropout=0.0, **given)
    assert not torch.equal(drawn[0], drawn[1]) and (drawn.mean(0) - expected).abs().max() < 0.08
