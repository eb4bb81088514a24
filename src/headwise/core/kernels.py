"""The kernels of attention, one written out, to be read and watched, and the fastest for where it runs; and of dropout.

| on a CPU in bfloat16, with gradients, up to 512 keys | written out: the fused backward takes up to 8 times as long |
| on a CPU with dropout | written out: so does PyTorch, in more steps |
| on a CPU in bfloat16 without gradients, up to 128 | written out: the fused kernel takes up to twice as long |
| the same, above that | the fused kernel in float32, which it is faster in |
| traced into a graph | written out: what the exporter makes of the fused one takes up to a tenth longer there |
| all else | PyTorch's fused kernels (Dao et al. 2022, arXiv:2205.14135), which never hold the weights |

With HEADWISE_KERNELS=plain everything is written out, to compare with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from headwise.core.plain import plain as plain

SHORT = 512  # keys; with gradients, weights of longer sequences take more memory than the fused kernel takes time
# So many numbers are held for the way back; more are made anew, which takes up to 4 % of a step. Of fewer that would
# save next to nothing.
WEIGHTS_HELD, INNER_HELD = 2**17, 2**20
DRAWS = 2**16  # one of which decides whether a number is dropped
GENERATOR: ContextVar[torch.Generator] = ContextVar("what dropout on a CPU draws from", default=torch.default_generator)
ASKED_SHORT = 128  # without, making room for the weights of longer ones takes longer than the fused kernel does


def weights(query: Tensor, key: Tensor, *, mask: Tensor | None, bias: Tensor | None, scale: float | None) -> Tensor:
    """softmax(query · key · scale + bias), written out: [… t w], [… s w] -> [… t s]; mask is true where seen."""
    query = query * (query.shape[-1] ** -0.5 if scale is None else scale)  # fewer numbers than scores
    scores = query @ key.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores += torch.zeros(mask.shape, dtype=scores.dtype, device=scores.device).masked_fill_(~mask, float("-inf"))
    return scores.softmax(-1)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float | None,
    dropout: float,
) -> Tensor:
    """weights(query, key) · value, by the fastest kernel in the table above.

    query [… h t w], key and value [… k s w] -> [… h t w]; k may be a divisor of h.
    """
    shared = query.dim() > 2 and query.shape[-3] != key.shape[-3]
    half = query.device.type == "cpu" and query.dtype == torch.bfloat16
    short = SHORT if query.requires_grad else ASKED_SHORT
    unfused = dropout > 0 and query.device.type == "cpu"  # PyTorch writes it out, too, but slower
    if plain() or unfused or torch.compiler.is_exporting() or (half and key.shape[-2] <= short):
        if shared:  # [… k s w] -> [… h s w]
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
        with torch.autocast("cpu", enabled=False):  # which would hold the weights in float32, to be rounded afterwards
            if ours(query, dropout):
                scale = query.shape[-1] ** -0.5 if scale is None else scale
                return DroppedAttention.apply(query, key, value, mask, bias, scale, dropout)  # type: ignore[no-untyped-call]
            mixing = weights(query, key, mask=mask, bias=bias, scale=scale)  # [… h t s]
            return dropped(mixing, dropout).to(value.dtype) @ value
    if half and not query.requires_grad:
        bias = None if bias is None else bias.float()
        with torch.autocast("cpu", enabled=False):
            parts = query.float(), key.float(), value.float()
            return attend(*parts, mask=mask, bias=bias, scale=scale, dropout=dropout).to(query.dtype)
    if bias is not None:
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, dropout_p=dropout, enable_gqa=shared
    )


def dropped(x: Tensor, share: float) -> Tensor:
    """x [any shape] with a share of its numbers 0 and the others larger by as much as that takes away.

    On a CPU three to four times as fast as F.dropout; for the way back a byte a number is held.
    """
    if ours(x, share):
        return Dropped.apply(x, share)  # type: ignore[no-untyped-call]
    if x.device.type != "cpu" or not 0 < share < 1:
        return F.dropout(x, share)
    return x * torch.empty_like(x).bernoulli_(1 - share, generator=GENERATOR.get()) / (1 - share)


def ours(x: Tensor, share: float) -> bool:
    """Whether it is our own dropout that drops this share of x."""
    return x.device.type == "cpu" and not plain() and 0 < round(share * DRAWS) < DRAWS


def kept(shape: torch.Size, share: float) -> Tensor:
    """1 where a number is kept, 0 where dropped, by 16 random bits each; uint8, as bool takes thrice as long."""
    n, generator = shape.numel(), GENERATOR.get()
    bits = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    drawn = bits.view(torch.int16)[:n].view(shape)
    return torch.ge(drawn, round(share * DRAWS) - DRAWS // 2, out=torch.empty(shape, dtype=torch.uint8))


def enlarged(stays: Tensor, share: float, dtype: torch.dtype) -> Tensor:
    """What to multiply by: where a number stays, as much more than 1 as makes up for the share that does not."""
    return stays.to(dtype).mul_(DRAWS / (DRAWS - round(share * DRAWS)))


def remade(make: Callable[..., Tensor], *of: Tensor) -> Tensor:
    """make(*of); of many numbers, for the way back only `of` is held and the rest made anew (Chen et al. 2016,
    arXiv:1604.06174).

    For what takes much room and little time; a product that comes last is not made twice.
    """
    first = of[0]
    if plain() or first.device.type != "cpu" or not first.requires_grad or first.numel() <= INNER_HELD:
        return make(*of)
    draws = SameDraws(GENERATOR.get())
    return checkpoint(
        make, *of, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: (nullcontext(), draws)
    )


class SameDraws(AbstractContextManager[None]):
    """Inside, dropout on a CPU draws what this generator would draw next: each time the same; each thread its own."""

    def __init__(self, generator: torch.Generator):
        self.state = generator.get_state()

    def __enter__(self) -> None:
        self.outside = GENERATOR.set(torch.Generator().set_state(self.state))

    def __exit__(self, *_: object) -> None:
        GENERATOR.reset(self.outside)


class Dropped(torch.autograd.Function):
    """Our own dropout. [any shape] -> the same"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        stays = kept(x.shape, share)
        ctx.save_for_backward(stays)
        ctx.share = share
        return enlarged(stays, share, x.dtype).mul_(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (stays,) = ctx.saved_tensors
        return enlarged(stays, ctx.share, gradient.dtype).mul_(gradient), None


class DroppedAttention(torch.autograd.Function):
    """dropped(weights(query, key)) · value; for the way back it holds a byte for each weight, and few weights.

    query [… h t w], key and value [… h s w], all of one type; mask, true where seen, and bias broadcast to [… h t s]
    -> [… h t w]
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        bias: Tensor | None,
        scale: float,
        share: float,
    ) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()  # once, not at every product
        mixing = weights(query, key, mask=mask, bias=bias, scale=scale).to(value.dtype)  # [… h t s]
        stays = kept(mixing.shape, share)
        held = mixing if mixing.numel() <= WEIGHTS_HELD else None
        ctx.save_for_backward(query, key, value, mask, bias, stays, held)
        ctx.scale, ctx.share = scale, share
        return enlarged(stays, share, mixing.dtype).mul_(mixing) @ value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError("attention with dropout has no second derivative here; ask for it in eval mode")
        query, key, value, mask, bias, stays, mixing = ctx.saved_tensors
        if mixing is None:
            mixing = weights(query, key, mask=mask, bias=bias, scale=ctx.scale).to(value.dtype)  # [… h t s]
        gradient, factor = gradient.contiguous(), enlarged(stays, ctx.share, mixing.dtype)
        of_weights = (gradient @ value.mT).mul_(factor)  # [… h t s]
        of_scores = torch.ops.aten._softmax_backward_data(of_weights, mixing, -1, mixing.dtype)
        of_query = (of_scores @ key).mul_(ctx.scale)
        of_key = ((query * ctx.scale).mT @ of_scores).mT
        of_value = factor.mul_(mixing).mT @ gradient
        of_bias = of_scores.sum_to_size(bias.shape) if ctx.needs_input_grad[4] else None
        return of_query, of_key, of_value, None, of_bias, None, None


def of_processor() -> Mapping[str, Any]:
    """What PyTorch knows of it."""
    return getattr(torch.cpu, "get_capabilities", dict)()  # absent in early torch


def instructions() -> tuple[str, ...]:
    """Those of the processor that matter here, by PyTorch's names."""
    wanted = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "sve", "bf16")
    return tuple(name for name in wanted if of_processor().get(name, False))


def has_bfloat16() -> bool:
    """Whether this processor has instructions to multiply matrices in bfloat16."""
    return not plain() and not {"avx512_bf16", "amx_bf16"}.isdisjoint(instructions())  # Zen 4, Sapphire Rapids, later


@cache
def bfloat16_pays() -> bool:
    """Whether products in bfloat16 take less time than in float32. Tried once in a process.

    Instructions alone do not tell: on Zen 4 bfloat16 takes 0.4 of the time, on an Emerald Rapids whose AMX is kept from
    a virtual machine 1.9 times as long.
    """
    if not has_bfloat16():
        return False
    x, threads = torch.ones(384, 384), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pairs = [(seconds(x), seconds(x.bfloat16())) for _ in range(10)]
    finally:
        torch.set_num_threads(threads)
    single, half = map(min, zip(*pairs[1:], strict=True))  # the first compiles
    return half < 0.8 * single


@torch.inference_mode()
def seconds(x: Tensor) -> float:
    """That a product takes this thread, whatever else the machine does. x [n n]"""
    began = time.thread_time()
    F.linear(x, x)
    return time.thread_time() - began


def has_layouts() -> bool:
    """Whether PyTorch can lay weights out for oneDNN."""
    return not plain() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def chosen() -> dict[str, str]:
    """What computes here, on this processor."""
    laid_out = "laid out once, by oneDNN" if has_layouts() else "as F.linear has them"
    gain = "faster here" if bfloat16_pays() else "not faster here"
    fused = "written out" if plain() else "PyTorch's fused kernel"
    return {
        "matrix products, training": "bfloat16 by autocast" if bfloat16_pays() else "float32",
        "matrix products, asking": f"float32, bfloat16 where told to ({gain}); weights {laid_out}",
        "attention in float32": fused if plain() else f"{fused}; with dropout written out",
        "attention in bfloat16, training": fused if plain() else f"written out up to {SHORT} keys, then {fused}",
        "attention in bfloat16, asking": fused if plain() else f"written out up to {ASKED_SHORT} keys, then {fused}",
        "the last block": "every position" if plain() else "first positions alone, where the head reads no others",
    }
