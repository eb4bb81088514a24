"""LoRA: adapters of low rank learn in the place of the blocks' weights (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.core.transformer import HeadedEncoder

SCALE = 2.0  # alpha / rank
PER_WEIGHT = 12  # bytes: its gradient, and the two means AdamW keeps


class Adapted(nn.Linear):
    """A linear layer at rest, its weight and bias by their usual names, and beside it an adapter that learns.

    Section 4.1: y = W x + b + SCALE · up(down(x)), where up begins at 0, so that at first nothing has changed.
    """

    def __init__(self, layer: nn.Linear, rank: int, generator: torch.Generator):
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.down = nn.Parameter(torch.empty(rank, layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5, generator=generator)  # as a linear layer usually begins

    def forward(self, x: Tensor) -> Tensor:
        """[n in] -> [n out]"""
        return super().forward(x) + SCALE * F.linear(F.linear(x, self.down), self.up)

    @torch.no_grad()
    def merge(self, layer: nn.Linear) -> None:
        """Make the adapter part of the layer's own weight, of which Adapted holds the very tensor."""
        layer.weight += SCALE * self.up @ self.down


def layers(model: HeadedEncoder, frozen: int = 0) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Every linear layer of the blocks above the frozen ones, with the module it is in and its name there.

    All of them, not just query and value: that is what comes near training everything (Dettmers et al. 2023,
    arXiv:2305.14314, figure 2).
    """
    return [
        (part, name, layer)
        for part in model.encoder.blocks[frozen:].modules()
        for name, layer in part.named_children()
        if isinstance(layer, nn.Linear)
    ]


@contextmanager
def adapted(model: HeadedEncoder, rank: int, seed: int) -> Iterator[None]:
    """Inside, the encoder rests and adapters of this rank, drawn from the seed, learn with the head; afterwards they
    are part of its weights, and it is as it was in all else. With rank 0 every weight learns, as ever."""
    found = layers(model) if rank else []
    generator = torch.Generator().manual_seed(seed)
    model.encoder.requires_grad_(not rank)
    for part, name, layer in found:
        setattr(part, name, Adapted(layer, rank, generator))
    try:
        yield
    finally:
        for part, name, layer in found:
            getattr(part, name).merge(layer)
            setattr(part, name, layer)
        model.encoder.requires_grad_()


def economy(model: HeadedEncoder, rank: int, frozen: int = 0) -> str:
    """How many weights learn where adapters do, and what that saves."""
    found = layers(model, frozen)
    some = sum(rank * (layer.in_features + layer.out_features) for _, _, layer in found)
    some += sum(weight.numel() for weight in model.head.parameters())
    every = sum(weight.numel() for weight in model.parameters())
    return (
        f"lora: {some:,} of {every:,} weights learn ({some / every:.1%}), adapters of rank {rank} at {len(found)} "
        f"layers and the head; with AdamW, gradients and means take {megabytes(some)}, those of all {megabytes(every)}"
    )


def megabytes(weights: int) -> str:
    """What so many learning weights cost beside themselves."""
    return f"{weights * PER_WEIGHT / 2**20:,.1f} MiB"
