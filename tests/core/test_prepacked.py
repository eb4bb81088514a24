"""Weights laid out once give the same products, and are not used where they no longer are the weights."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn

from headwise.core import spec
from headwise.core.attention import Attention
from headwise.core.kernels import has_bfloat16
from headwise.core.packed import Packed
from headwise.core.prepacked import FUSED, Prepacked, PrepackedAttention, compile_products, prepack, rounded
from headwise.core.transformer import FeedForward


@pytest.fixture
def layers() -> tuple[nn.Sequential, nn.Sequential]:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(48, 80), nn.GELU(), nn.Linear(80, 32, bias=False))
    packed = copy.deepcopy(plain)
    prepack(packed)
    if not isinstance(packed[0], Prepacked):
        pytest.skip("PyTorch has no oneDNN here")
    return plain, packed


@pytest.fixture
def products(monkeypatch) -> list[tuple[int, torch.dtype, str]]:
    """Rows, type and activation of every product by a layout."""
    seen, usual = [], torch.ops.mkldnn._linear_pointwise

    def noted(x, weight, bias, activation, *rest):
        seen.append((len(x), x.dtype, activation))
        return usual(x, weight, bias, activation, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", noted)
    return seen


@pytest.mark.parametrize("rows", [1, 7, 33, 300])
def test_products_are_the_same(layers, rows):
    plain, packed = layers
    x = torch.randn(rows, 48)
    with torch.inference_mode():
        assert torch.allclose(packed(x), plain(x), atol=1e-5)


def test_few_numbers_of_rows_are_multiplied_and_little_in_vain():
    wide = [rounded(n) for n in range(1, 2049)]
    assert all(n <= one <= max(n + 3, n * 17 / 16) for n, one in enumerate(wide, 1))
    assert len(set(wide)) <= 16 + 16 * 5


def test_lengths_that_change_are_few_products_to_compile(layers, products):
    _, packed = layers
    with torch.inference_mode():
        made = [packed(torch.randn(n, 48)) for n in range(500, 600)]
    assert [len(one) for one in made] == list(range(500, 600)) and len(set(products)) <= 8


def test_a_layout_is_what_is_multiplied(layers):
    _, packed = layers
    with torch.inference_mode():
        torch.ops.mkldnn._linear_pointwise  # noqa: B018  there, or the fixture skips
        nothing = torch.ops.mkldnn._reorder_linear_weight(torch.zeros(80, 48))
        packed[0].layout = replace(packed[0].layout, weight=nothing)
        assert torch.allclose(packed[0](torch.randn(3, 48)), packed[0].bias.expand(3, 80))


def test_a_weight_that_changes_is_multiplied_itself(layers):
    plain, packed = layers
    x = torch.randn(5, 48)
    with torch.no_grad():
        for model in layers:
            model[0].weight.mul_(2)
    with torch.inference_mode():
        assert torch.allclose(packed(x), plain(x), atol=1e-5)


def test_what_is_dropped_is_freed_at_once():
    """A server that takes one version after another would hold them all until the garbage collector comes."""
    model = nn.Sequential(
        nn.Linear(48, 48), FeedForward(spec.FeedForward(80), 48), Attention(spec.Attention(4, 2, 8), 48)
    )
    prepack(model)
    left = [weakref.ref(part) for part in model]
    gc.disable()
    try:
        del model
        assert [one() for one in left] == [None] * 3
    finally:
        gc.enable()


def test_a_copy_does_not_multiply_by_the_layout_of_the_first(layers):
    _, packed = layers
    other, x = copy.deepcopy(packed), torch.randn(5, 48)
    with torch.no_grad():
        other[0].weight.zero_()
        other[0].bias.zero_()
    with torch.inference_mode():
        assert not other[0](x).any() and packed[0](x).any()


def test_gradients_go_through_the_weights(layers):
    plain, packed = layers
    x = torch.randn(5, 48)
    for model in layers:
        model(x).square().sum().backward()
    assert torch.allclose(packed[0].weight.grad, plain[0].weight.grad, atol=1e-5)
    assert set(packed.state_dict()) == set(plain.state_dict())


def test_in_bfloat16_products_are_those_of_autocast(layers, products):
    if not has_bfloat16():
        pytest.skip("this processor has no bfloat16")
    plain, packed = layers
    prepack(packed, torch.bfloat16)
    x = torch.randn(33, 48)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found, expected = packed(x), plain(x)
    assert found.dtype == expected.dtype == torch.bfloat16
    assert torch.allclose(found, expected, atol=0.01) and {dtype for _, dtype, _ in products} == {torch.bfloat16}
    with torch.inference_mode():  # and without autocast the weights themselves are multiplied
        assert torch.equal(packed(x), plain(x))


def test_a_layer_is_laid_out_anew_for_another_type_only(layers):
    _, packed = layers
    before = packed[0].layout
    prepack(packed)
    assert packed[0].layout is before
    if has_bfloat16():
        prepack(packed, torch.bfloat16)
        assert packed[0].layout.weight.dtype == torch.bfloat16


def test_what_was_compiled_is_all_that_is_multiplied(layers, products):
    _, packed = layers
    compile_products(packed, 70)
    known = set(products)
    products.clear()
    with torch.inference_mode():
        for n in range(1, 71):
            packed(torch.randn(n, 48))
    assert len(products) == 140 and set(products) <= known


@pytest.fixture
def attentions() -> tuple[Attention, Attention]:
    """Grouped ones, plain and prepacked."""
    torch.manual_seed(0)
    plain = Attention(spec.Attention(n_heads=4, n_kv_heads=2, d_head=8), 48).eval()
    packed = copy.deepcopy(plain)
    prepack(packed)
    if not isinstance(packed, PrepackedAttention):
        pytest.skip("PyTorch has no oneDNN here")
    return plain, packed


def test_query_key_and_value_are_one_product(attentions, products):
    plain, packed = attentions
    x = Packed.of([torch.randn(n, 48) for n in (5, 3, 9)])
    with torch.inference_mode():
        assert torch.allclose(packed(x), plain(x), atol=1e-5) and len(products) == 2  # theirs, and that of out
        memory = Packed.of([torch.randn(n, 48) for n in (2, 6, 4)])
        assert torch.allclose(packed(x, memory), plain(x, memory), atol=1e-5) and len(products) == 3
    packed(Packed.of(x.unpack())).sum().backward()
    assert packed.key.weight.grad is not None and set(packed.state_dict()) == set(plain.state_dict())


def test_where_few_ask_key_and_value_are_one_product(attentions, products):
    plain, packed = attentions
    prepack(packed, first_only=True)
    x = Packed.of([torch.randn(n, 48) for n in (5, 3, 9)])
    with torch.inference_mode():
        assert torch.allclose(packed(x.firsts(), x), plain(x)[x.lengths.starts], atol=1e-5)
        assert [rows for rows, _, _ in products] == [4, 20, 4]  # query, key and value, out, rounded up
        assert torch.allclose(packed(x), plain(x), atol=1e-5) and len(products) == 6


def test_a_layer_that_changes_or_is_replaced_is_multiplied_itself(attentions):
    plain, packed = attentions
    x = Packed.of([torch.randn(5, 48)])
    with torch.no_grad():
        for one in attentions:
            one.key.bias.add_(1)
            one.value.weight.mul_(2)
    with torch.inference_mode():
        assert torch.allclose(packed(x), plain(x), atol=1e-5)
    prepack(packed)
    for one in attentions:
        one.query = nn.Sequential(one.query, nn.Tanh())
        one.query.weight, one.query.bias = one.query[0].weight, one.query[0].bias
    with torch.inference_mode():
        assert torch.allclose(packed(x), plain(x), atol=1e-5)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("activation", FUSED)
def test_an_activation_is_part_of_the_product_before_it(activation, gated, products):
    torch.manual_seed(0)
    plain = FeedForward(spec.FeedForward(80, activation, gated=gated), 48).eval()
    packed = copy.deepcopy(plain)
    prepack(packed)
    compile_products(packed, 9)
    x = Packed.of([3 * torch.randn(n, 48) for n in (5, 4)])
    with torch.inference_mode():
        known = set(products)
        products.clear()
        assert torch.allclose(packed(x), plain(x), atol=1e-5)
        assert len(products) == 2 + gated and set(products) <= known
        alone = [one.pre_activation(x.data) for one in (packed, plain)]  # by itself it has none
        assert torch.allclose(*alone, atol=1e-5)
        for one in (plain, packed):
            one.pre_activation.weight.mul_(2)
        assert torch.allclose(packed(x), plain(x), atol=1e-5)
    packed(Packed.of(x.unpack())).sum().backward()
    assert packed.pre_activation.weight.grad is not None and set(packed.state_dict()) == set(plain.state_dict())
