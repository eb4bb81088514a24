"""A batch as one rectangle with a mask, as other runtimes want it: the same modules compute it, padding and all.

Only for tracing a model into a graph; nothing else here is padded outside the attention kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from headwise.core.packed import Lengths, Packed


@dataclass(frozen=True, eq=False)
class Padded(Lengths):
    """b sequences of width t, real positions first. Flat, the cells are the packed positions, n = b · t; otherwise what
    is [n …] elsewhere is [b t …] here.

    It is its own only rectangle, and nothing depends on what the mask holds, so that a trace of it fits every batch.
    """

    each: tuple[int, ...] = ()
    real: Tensor = field(kw_only=True)  # [b t], true where a position is real
    flat: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        """Nothing is asked of the numbers."""

    @property
    def rectangles(self) -> tuple[Padded, ...]:  # type: ignore[override]
        return (self,)

    @property
    def full(self) -> bool:
        return False

    @property
    def keys(self) -> Tensor:
        """What any query sees. [b 1 1 t]"""
        return self.real[:, None, None]

    @cached_property
    def places(self) -> Tensor:
        """[t]"""
        return torch.arange(self.real.shape[1], device=self.real.device)

    @cached_property
    def positions(self) -> Tensor:
        """[n] or [b t]"""
        return self.packed([self.places.expand(self.real.shape)])

    @property
    def firsts(self) -> Padded:
        """The first column alone."""
        return Padded(real=self.real[:, :1], flat=self.flat)

    def like(self, others: Lengths) -> Padded:
        """All sequences are padded together."""
        return self

    def padded(self, data: Tensor) -> tuple[Tensor, ...]:
        """[n h w] or [b t h w] -> one [b t h w]"""
        return (data.view(*self.real.shape, *data.shape[-2:]),)

    def packed(self, pieces: Sequence[Tensor]) -> Tensor:
        """One [b t …] -> [n …] or [b t …]"""
        return pieces[0].flatten(0, 1) if self.flat else pieces[0]


class Cells(Packed):
    """What stands in the cells of a rectangle, [n …] or [b t …]; padding is left out of means."""

    lengths: Padded

    @staticmethod
    def of_rectangle(data: Tensor, lengths: Padded) -> Cells:
        """data [b t …]"""
        return Cells(lengths.packed([data]), lengths)

    def rectangle(self) -> Tensor:
        """[b t d]"""
        return self.data.view(*self.lengths.real.shape, -1)

    def firsts(self) -> Cells:
        """The first column alone. [b d] or [b 1 d]"""
        return Cells.of_rectangle(self.rectangle()[:, :1], self.lengths.firsts)

    def means(self) -> Tensor:
        """[b d]"""
        real = self.lengths.real[..., None].to(self.data.dtype)  # [b t 1]
        return (self.rectangle() * real).sum(1) / real.sum(1)
