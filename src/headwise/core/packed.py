"""Sequences of unequal length laid end to end: no padding outside the attention kernel.

Shape letters, the same everywhere in this project:

    n  packed positions      b  sequences            t, s  target and source length
    d  d_model               h  heads                k     key-value heads
    w  width of one head     f  d_ff                 v     vocabulary
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Lengths:
    """How long each of b sequences is, and from that where each lies among the n packed positions."""

    each: tuple[int, ...]
    device: torch.device = torch.device("cpu")
    groups: tuple[tuple[int, ...], ...] | None = None  # sequences that are padded together; None: those of like length

    def __post_init__(self) -> None:
        if not self.each or min(self.each) < 1:
            raise ValueError(f"a batch needs at least one sequence and no empty one, got lengths {self.each[:8]}")

    @cached_property
    def tensor(self) -> Tensor:  # [b]
        return torch.tensor(self.each, device=self.device)

    @cached_property
    def starts(self) -> Tensor:
        """The packed position of each sequence's first element. [b]"""
        return self.tensor.cumsum(0) - self.tensor

    @cached_property
    def sequence(self) -> Tensor:
        """The sequence each packed position belongs to. [n]"""
        return torch.arange(len(self.each), device=self.device).repeat_interleave(self.tensor)

    @cached_property
    def positions(self) -> Tensor:
        """The place of each packed position inside its own sequence, from 0. [n]"""
        return torch.arange(sum(self.each), device=self.device) - self.starts[self.sequence]

    @cached_property
    def rectangles(self) -> tuple[Rectangle, ...]:
        """The sequences in groups of like length; the attention kernel pads inside one group only."""
        if self.groups is not None:
            return tuple(map(self.rectangle, self.groups))
        groups: list[list[int]] = []
        for row in sorted(range(len(self.each)), key=self.each.__getitem__):
            if not groups or self.each[row] > 8 + self.each[groups[-1][0]] * 5 // 4:
                groups.append([])
            groups[-1].append(row)
        return tuple(map(self.rectangle, groups))

    def rectangle(self, rows: Sequence[int]) -> Rectangle:
        """Some of the sequences."""
        begin = (0, *accumulate(self.each))
        sizes = tuple(self.each[row] for row in rows)
        whole = len(set(sizes)) == 1 and tuple(rows) == tuple(range(len(self.each)))
        return Rectangle(tuple(rows), sizes, tuple(begin[row] for row in rows), whole, self.device)

    @cached_property
    def firsts(self) -> Lengths:
        """The first position of each sequence alone, grouped as the sequences are."""
        return Lengths((1,) * len(self.each), self.device, tuple(part.rows for part in self.rectangles))

    def like(self, others: Lengths) -> Lengths:
        """The same sequences, padded together as those of others are."""
        if others is self:
            return self
        groups = tuple(part.rows for part in others.rectangles)
        same = groups == tuple(part.rows for part in self.rectangles)
        return self if same else Lengths(self.each, self.device, groups)

    def padded(self, data: Tensor) -> tuple[Tensor, ...]:
        """[n …] -> for each rectangle [rows width …]; by one gather, as each of its own would have gradients of all."""
        parts = self.rectangles
        if not parts[0].whole:
            data = data.index_select(0, self.filling)
        cells = torch.split(data, [len(part.rows) * part.width for part in parts])
        return tuple(
            own.view(len(part.rows), part.width, *data.shape[1:]) for part, own in zip(parts, cells, strict=True)
        )

    def packed(self, pieces: Sequence[Tensor]) -> Tensor:
        """For each rectangle [rows width …] -> [n …], by one gather again"""
        cells = [piece.flatten(0, 1) for piece in pieces]
        return cells[0] if self.cells is None else torch.cat(cells).index_select(0, self.cells)

    @cached_property
    def filling(self) -> Tensor:
        """The packed position in each cell of all rectangles, one after the other. [cells]"""
        return torch.cat([part.positions.flatten() for part in self.rectangles])

    @cached_property
    def cells(self) -> Tensor | None:
        """Each packed position's cell among those of all rectangles, one after the other: [n], or None where
        the only rectangle has no padding, so that cell and position are the same."""
        if self.rectangles[0].whole:
            return None
        real = torch.cat([part.real.flatten() for part in self.rectangles]).nonzero().flatten()  # [n]
        return torch.empty_like(real).scatter_(0, self.filling[real], real)


@dataclass(frozen=True, eq=False)
class Rectangle:
    """Some rows (sequences) of a batch, padded to the longest of them: [rows width].

    It holds no Lengths: those that cache it would hold themselves, with all their tensors, until the garbage collector
    comes.
    """

    rows: tuple[int, ...]
    sizes: tuple[int, ...]  # how long each is
    starts: tuple[int, ...]  # the packed position of each one's first element
    whole: bool  # the batch as it lies, so that cell and position are the same
    device: torch.device

    @cached_property
    def width(self) -> int:
        return max(self.sizes)

    @cached_property
    def full(self) -> bool:
        return min(self.sizes) == self.width

    @cached_property
    def real(self) -> Tensor:
        """True in cells that hold a position, false in padding. [rows width]"""
        return self.places < torch.tensor(self.sizes, device=self.device)[:, None]

    @cached_property
    def keys(self) -> Tensor:
        """The same as a mask of what any query sees. [rows 1 1 width]"""
        return self.real[:, None, None]

    @cached_property
    def places(self) -> Tensor:
        """The place of each column in its sequence. [width]"""
        return torch.arange(self.width, device=self.device)

    @cached_property
    def positions(self) -> Tensor:
        """The packed position in each cell; a padding cell repeats its row's first one. [rows width]"""
        return torch.tensor(self.starts, device=self.device)[:, None] + self.places * self.real

    def pad(self, data: Tensor) -> Tensor:
        """[n …] -> [rows width …]"""
        if not self.whole:
            data = data.index_select(0, self.positions.flatten())
        return data.view(len(self.rows), self.width, *data.shape[1:])


@dataclass(frozen=True, eq=False)
class Packed:
    """b sequences end to end: data [n …] and their lengths."""

    data: Tensor
    lengths: Lengths

    @staticmethod
    def of(sequences: Sequence[Tensor]) -> Packed:
        """Pack b tensors [length …] into one."""
        data = torch.cat(list(sequences))
        return Packed(data, Lengths(tuple(len(sequence) for sequence in sequences), data.device))

    def unpack(self) -> tuple[Tensor, ...]:
        """The b sequences, each [length …]."""
        return torch.split(self.data, list(self.lengths.each))

    def with_data(self, data: Tensor) -> Packed:
        """The same sequences holding something else at each position. [n …]"""
        return type(self)(data, self.lengths)

    def only(self, kept: Tensor) -> Packed:
        """Some positions of each sequence. kept [n] is true at m of them, one in each sequence or more. -> [m …]"""
        counts = torch.bincount(self.lengths.sequence[kept], minlength=len(self.lengths.each))
        return Packed(self.data[kept], Lengths(tuple(counts.tolist()), self.data.device))

    def firsts(self) -> Packed:
        """The first position of each sequence alone. [b …]"""
        return type(self)(self.data[self.lengths.starts], self.lengths.firsts)

    def means(self) -> Tensor:
        """The mean over each sequence's positions. [b d]"""
        sums = self.data.new_zeros(len(self.lengths.each), *self.data.shape[1:])
        return sums.index_add(0, self.lengths.sequence, self.data) / self.lengths.tensor[:, None]
