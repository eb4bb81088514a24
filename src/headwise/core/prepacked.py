"""Linear layers for asking: their weights are laid out once as the processor multiplies them, not at each product."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headwise.core.attention import Attention
from headwise.core.kernels import has_bfloat16, has_layouts
from headwise.core.packed import Packed
from headwise.core.transformer import FeedForward

NONE = ("none", "")  # no activation, as oneDNN names it
FUSED = {"relu": ("relu", ""), "gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "silu": ("swish", "")}


@dataclass(frozen=True, eq=False)
class Layout:
    """Linear layers that read the same numbers, as one product by oneDNN, and an activation of what it makes.

    It holds as long as they are linear layers, their weights and biases the same and unchanged. It does not keep the
    layers: one that has its own layout would be freed by nothing but the garbage collector, which seldom comes.
    """

    parts: tuple[Tensor | None, ...]  # weight and bias of each
    versions: tuple[int, ...]
    weight: Tensor  # of all, laid out
    bias: Tensor | None  # [out]
    activation: tuple[str, str] = NONE

    @staticmethod
    def of(
        layers: Sequence[nn.Linear], dtype: torch.dtype = torch.float32, activation: tuple[str, str] = NONE
    ) -> Layout:
        """Lay some layers out, their numbers rounded to a type."""
        weight = torch.cat([layer.weight.detach() for layer in layers]).to(dtype)  # [out in]
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        parts = tuple(part for layer in layers for part in (layer.weight, layer.bias))
        return Layout(
            parts,
            tuple(part._version for part in parts if part is not None),
            torch.ops.mkldnn._reorder_linear_weight(weight, None),
            torch.cat(biases).to(dtype) if biases else None,
            activation,
        )

    def holds(self, dtype: torch.dtype, *layers: nn.Module) -> bool:
        """Whether these are still the layers that were laid out, in this type."""
        parts = [part for layer in layers for part in (layer.weight, layer.bias)]
        return (
            dtype == self.weight.dtype
            and all(type(layer) in (nn.Linear, Prepacked) for layer in layers)
            and all(map(operator.is_, parts, self.parts))
            and tuple([part._version for part in parts if part is not None]) == self.versions
        )

    def product(self, x: Tensor) -> Tensor:
        """[n in] -> [n out]"""
        n = x.shape[0]  # len(x) takes ten times as long
        more = rounded(n) - n
        if more:
            wide = x.new_empty(n + more, x.shape[1], dtype=self.weight.dtype)  # what stands in the last rows is lost
            wide[:n] = x
        else:
            wide = x.to(self.weight.dtype)
        activation, how = self.activation
        made = torch.ops.mkldnn._linear_pointwise(wide, self.weight, self.bias, activation, [], how)
        return made[:n] if more else made

    def __reduce__(self) -> tuple[Any, ...]:
        """What is pickled is of no layers: it is laid out anew where it is opened."""
        return Layout, ((), (), torch.empty(0), None)

    def __deepcopy__(self, memo: dict[int, Any]) -> Layout:
        return self  # of no use to a copy of the layers, and never changed


def rounded(n: int) -> int:
    """The next multiple of 4, or of 16 numbers of rows between two powers of two, at most a sixteenth more than n.

    For each number of rows oneDNN compiles a product anew, half a millisecond and half a MiB that it keeps. Fewer than
    4 rows take as long as 4.
    """
    step = max(4, 2 ** (n.bit_length() - 5))
    return -(-n // step) * step


def wanted(x: Tensor) -> torch.dtype | None:
    """The type that a linear layer multiplies in; None where gradients may be asked for, and no layout serves."""
    if not torch.is_inference_mode_enabled() or x.dim() != 2:
        return None
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


class Prepacked(nn.Linear):
    """A linear layer that multiplies by the layout in inference mode; for all else its weight is there.

    On a Zen 4 core a product takes 0.5 (5 rows) to 0.9 (2,000) of the time of F.linear's, and in bfloat16 half of that.
    """

    layout: Layout

    def forward(self, x: Tensor) -> Tensor:
        """[n in] -> [n out], in the type of autocast where that is on"""
        dtype = wanted(x)
        return super().forward(x) if dtype is None or not self.layout.holds(dtype, self) else self.layout.product(x)


class PrepackedAttention(Attention):
    """Self-attention that makes query, key and value in one product in inference mode; for all else there are three.

    Where the layout is of key and value alone, queries have a product of their own.
    """

    layout: Layout

    def projected(self, x: Packed, source: Packed) -> tuple[Tensor, ...]:
        """x [n d], source [m d] -> [n h+2k w], to be padded at once; or query [n h w], key and value [m 2k w]"""
        dtype = wanted(source.data)
        if dtype is not None and x is source and self.layout.holds(dtype, self.query, self.key, self.value):
            made: tuple[Tensor, ...] = (self.layout.product(x.data),)  # [n (h + 2k)·w]
        elif dtype is not None and self.layout.holds(dtype, self.key, self.value):
            made = self.query(x.data), self.layout.product(source.data)  # [n h·w], [m 2k·w]
        else:
            return super().projected(x, source)
        return tuple(part.view(part.shape[0], -1, self.spec.d_head) for part in made)


class PrepackedFeedForward(FeedForward):
    """Feed-forward whose activation is applied to a product while it is in the cache, in inference mode."""

    layout: Layout

    def forward(self, x: Packed) -> Tensor:
        """[n d] -> [n f] -> [n d]"""
        dtype = wanted(x.data)
        if dtype is None or not self.layout.holds(dtype, self.pre_activation):
            return super().forward(x)
        inner = self.layout.product(x.data)  # [n f]
        return self.down(self.dropout(inner if self.gate is None else inner * self.up(x.data)))


@torch.inference_mode()
def compile_products(model: nn.Module, most: int) -> None:
    """Have oneDNN compile the products of up to so many rows now, and none while somebody waits.

    It keeps them as long as the process lives, for all layers of a size and all threads that compute on as many cores.
    """
    kinds = Prepacked | PrepackedAttention | PrepackedFeedForward
    found = [part.layout for part in model.modules() if isinstance(part, kinds)]
    sizes = {(one.weight.shape, one.activation): one for one in found}
    for n in sorted({rounded(n) for n in range(1, most + 1)}):
        for (shape, _), layout in sizes.items():
            layout.product(torch.zeros(n, shape[1]))


def prepack(model: nn.Module, dtype: torch.dtype = torch.float32, first_only: bool = False) -> None:
    """Lay out the linear layers of a model, where PyTorch has oneDNN and the weights are in a CPU's memory.

    dtype: what they multiply in, float32, or bfloat16 under autocast where the processor has it. The layouts take as
    much memory as the weights do in it. first_only: the last block is asked for first positions alone.
    """
    if not has_layouts() or not (dtype == torch.float32 or has_bfloat16()):
        return
    joined: set[nn.Module] = set()
    parts: list[Any] = list(model.modules())
    last = [part for part in parts if isinstance(part, Attention)][-1:] if first_only else []
    for part in parts:
        if type(part) in (Attention, PrepackedAttention):
            layers = (part.key, part.value) if part in last else (part.query, part.key, part.value)
            lay_out(part, PrepackedAttention, layers, dtype)
            joined.update(layers)
        elif type(part) in (FeedForward, PrepackedFeedForward) and part.spec.activation in FUSED:
            lay_out(part, PrepackedFeedForward, (part.pre_activation,), dtype, FUSED[part.spec.activation])
            joined.add(part.pre_activation)
        elif type(part) in (nn.Linear, Prepacked) and part not in joined:
            lay_out(part, Prepacked, (part,), dtype)


def lay_out(
    part: Any, kind: type[Any], layers: Sequence[Any], dtype: torch.dtype, activation: tuple[str, str] = NONE
) -> None:
    """Make a part of a model a prepacked one of some kind, where it is none yet and its weights can be laid out."""
    if isinstance(part, kind) and part.layout.holds(dtype, *layers):
        return
    weights = [layer.weight for layer in layers]
    if all(type(layer) in (nn.Linear, Prepacked) for layer in layers) and all(
        weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights
    ):
        part.__class__ = kind
        part.layout = Layout.of(layers, dtype, activation)
