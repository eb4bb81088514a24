"""Rows into packed batches: in which order, and how many at once."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from headwise.core.packed import Lengths, Packed
from headwise.reading.text import Tokens

Rows = npt.NDArray[np.int64]
NOWHERE = -100  # the target at a token that does not count


@dataclass(frozen=True, eq=False)
class Batch:
    """What one forward pass takes: its sequences end to end, and what the model should answer."""

    ids: Packed  # [n]
    types: Tensor  # [n]
    targets: Tensor | None  # of the b rows, as their task made them
    counts: Rows | None  # [b] sequences of each row; None: one each
    asked: Tensor | None = None  # [n] true at positions the head is asked about; None: at all


@dataclass(frozen=True, eq=False)
class Examples:
    """b rows made ready for a model by their task: k sequences of tokens, and what the model should answer.

    targets: what the loss compares with; indexed by row numbers [r] they give an array for these rows.
    truth: what answers are judged by, as the table has it; the same as targets for most tasks.
    counts: sequences of each row [b], where a row is not just one.
    layout: whatever the task needs to know of where tokens stand in the texts.
    asked: true at the positions the head is asked about [n], where it is not all and the head has no pool.
    origin: the row of the table each is from [b], where one such row makes several.
    """

    tokens: Tokens
    targets: Any = None
    truth: Any = None
    counts: Rows | None = None
    layout: Any = None
    asked: npt.NDArray[np.bool_] | None = None
    origin: Rows | None = None

    def __len__(self) -> int:
        return len(self.tokens if self.counts is None else self.counts)

    @cached_property
    def sequences_of_rows(self) -> Rows:
        """How many sequences each row of the table makes. [rows]"""
        if self.counts is not None:
            return self.counts
        origin = np.arange(len(self)) if self.origin is None else self.origin
        return np.unique(origin, return_counts=True)[1]

    @cached_property
    def lengths(self) -> Rows:
        """How many tokens each row has. [b]"""
        if self.counts is None:
            return self.tokens.lengths
        return np.add.reduceat(self.tokens.lengths, self.counts.cumsum() - self.counts)

    def sequences(self, rows: Rows) -> Rows:
        """The numbers of these rows' sequences, in their order. [r] -> [s]"""
        if self.counts is None:
            return rows
        counts, starts = self.counts[rows], (self.counts.cumsum() - self.counts)[rows]
        inside = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        return np.repeat(starts, counts) + inside

    def batch(self, rows: Rows) -> Batch:
        """These rows end to end."""
        targets = None if self.targets is None else torch.from_numpy(self.targets[rows])
        counts = None if self.counts is None else self.counts[rows]
        sequences = self.sequences(rows)
        asked = None if self.asked is None else torch.from_numpy(self.asked[self.tokens.places(sequences)])
        return Batch(*packed(self.tokens, sequences), targets, counts, asked)

    def places(self, sequences: Rows) -> Rows:
        """Where positions of these sequences stand among those that the head is asked about. [s] -> [m]"""
        at = self.tokens.places(sequences)
        return at if self.asked is None else (self.asked.cumsum() - 1)[at[self.asked[at]]]


@dataclass(frozen=True, eq=False)
class PerToken:
    """A number at each of the n tokens of some examples, as targets: those of some rows stand end to end."""

    examples: Examples
    values: npt.NDArray[Any]  # [n]

    def __getitem__(self, rows: Rows) -> npt.NDArray[Any]:
        return self.values[self.examples.tokens.places(self.examples.sequences(rows))]


@lru_cache(maxsize=2)
def shuffled(rows: int, seed: int, epoch: int) -> Rows:
    """The order of an epoch: a pure function of seed and epoch. [rows]"""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def passes(
    rows: Rows, lengths: npt.NDArray[np.int64], most_tokens: int, most_rows: int | None = None
) -> Iterator[Rows]:
    """Cut rows, in their order, into passes of at most so many tokens, unless one row alone is longer, and rows."""
    start, tokens = 0, 0
    for end, row in enumerate(rows):
        full = tokens + lengths[row] > most_tokens or end - start == most_rows
        if full and end > start:
            yield rows[start:end]
            start, tokens = end, 0
        tokens += int(lengths[row])
    if start < len(rows):
        yield rows[start:]


def passes_for(tokens: float, most_tokens: int) -> int:
    """1, 2, 4, 8 …: the fewest such that each has at most so many of these tokens."""
    return int(2 ** np.ceil(np.log2(max(tokens / most_tokens, 1))))


def even_passes(rows: Rows, lengths: npt.NDArray[np.int64], most_tokens: int) -> list[Rows]:
    """Deal rows out to 1, 2, 4, 8 … passes of about as many tokens each, and of hardly more than most_tokens.

    A row is not cut; where rows are longer, a pass has one.
    """
    found: list[list[int]] = [[] for _ in range(min(passes_for(lengths[rows].sum(), most_tokens), len(rows)))]
    lightest = [(0, number) for number in range(len(found))]
    for row in rows[np.argsort(-lengths[rows], kind="stable")]:  # the longest first
        tokens, number = lightest[0]
        found[number].append(row)
        heapq.heapreplace(lightest, (tokens + int(lengths[row]), number))
    return [np.array(some, rows.dtype) for some in found]


def by_length(lengths: npt.NDArray[np.int64]) -> Rows:
    """Rows from the shortest to the longest, for when order does not matter. [rows]"""
    return np.argsort(lengths, kind="stable")


def packed(tokens: Tokens, sequences: Rows) -> tuple[Packed, Tensor]:
    """Some sequences end to end: ids [n] and their types [n]."""
    some = tokens.select(sequences)
    ids, types = (torch.from_numpy(part.astype(np.int64)) for part in (some.ids, some.types))
    return Packed(ids, Lengths(tuple(some.lengths.tolist()))), types
