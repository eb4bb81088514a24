"""Linear layers for asking: their weights are laid out once as the processor multiplies them, not at each product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headwise.core.kernels import has_bfloat16, has_layouts


@dataclass(frozen=True, eq=False)
class Layout:
    """A weight [out in] as oneDNN computes with it. It holds as long as the weight is the same and unchanged."""

    weight: Tensor
    version: int
    laid_out: Tensor

    @staticmethod
    def of(weight: Tensor, dtype: torch.dtype = torch.float32) -> Layout:
        """Lay a weight out, its numbers rounded to a type."""
        rounded = weight.detach().to(dtype)
        return Layout(weight, weight._version, torch.ops.mkldnn._reorder_linear_weight(rounded, None))

    def holds(self, weight: Tensor, dtype: torch.dtype) -> bool:
        """Whether a weight is still the one that was laid out, in this type."""
        return weight is self.weight and weight._version == self.version and dtype == self.laid_out.dtype

    def __deepcopy__(self, memo: dict[int, Any]) -> Layout:
        return self  # of no use to a copy of the weight, and never changed


def rounded(n: int) -> int:
    """The next multiple of 4, or of 16 numbers of rows between two powers of two, at most a sixteenth more than n.

    For each number of rows oneDNN compiles a product anew, half a millisecond and half a MiB that it keeps. Fewer than
    4 rows take as long as 4.
    """
    step = max(4, 2 ** (n.bit_length() - 5))
    return -(-n // step) * step


class Prepacked(nn.Linear):
    """A linear layer that multiplies by the layout in inference mode; for all else its weight is there.

    On a Zen 4 core a product takes 0.5 (5 rows) to 0.9 (2,000) of the time of F.linear's, and in bfloat16 half of that.
    """

    layout: Layout

    def forward(self, x: Tensor) -> Tensor:
        """[n in] -> [n out], in the type of autocast where that is on"""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if not torch.is_inference_mode_enabled() or x.dim() != 2 or not self.layout.holds(self.weight, dtype):
            return super().forward(x)
        wide = x.to(dtype)
        if rounded(len(x)) > len(x):
            wide = x.new_empty(rounded(len(x)), self.in_features, dtype=dtype)  # what stands in the last rows is lost
            wide[: len(x)] = x
        bias = None if self.bias is None else self.bias.to(dtype)
        made = torch.ops.mkldnn._linear_pointwise(wide, self.layout.laid_out, bias, "none", [], "")
        return made[: len(x)]


@torch.inference_mode()
def compile_products(model: nn.Module, most: int) -> None:
    """Have oneDNN compile the products of up to so many rows now, and none while somebody waits.

    It keeps them as long as the process lives, for all layers of a size and all threads that compute on as many cores.
    """
    layers = {(layer.weight.shape, layer.bias is None): layer for layer in model.modules() if type(layer) is Prepacked}
    for n in sorted({rounded(n) for n in range(1, most + 1)}):
        for layer in layers.values():
            x = torch.zeros(n, layer.in_features, dtype=layer.layout.laid_out.dtype)
            with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype == torch.bfloat16):
                layer(x)


def prepack(model: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Make every linear layer a prepacked one, where PyTorch has oneDNN and the weights are in a CPU's memory.

    dtype: what it multiplies in, float32, or bfloat16 under autocast where the processor has it. The layouts take as
    much memory as the weights do in it.
    """
    if not has_layouts() or not (dtype == torch.float32 or has_bfloat16()):
        return
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and type(layer) in (nn.Linear, Prepacked):
            lay_out(layer, dtype)


def lay_out(layer: nn.Linear, dtype: torch.dtype) -> None:
    """Make a linear layer a prepacked one, where it is none yet and its weights are such as can be laid out."""
    if isinstance(layer, Prepacked) and layer.layout.holds(layer.weight, dtype):
        return
    if layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32:
        layer.__class__ = Prepacked
        layer.layout = Layout.of(layer.weight, dtype)  # type: ignore[assignment]
