"""Rows into packed batches: in which order, and how many at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from headwise.core.packed import Lengths, Packed
from headwise.reading.text import Tokens

Rows = npt.NDArray[np.int64]
TOKENS_PER_PASS = 8192  # what one forward pass holds at most, unless one row alone is longer


@dataclass(frozen=True)
class Examples:
    """Rows made ready for a model: their tokens, and what the model should answer."""

    tokens: Tokens
    targets: npt.NDArray[np.generic]  # [b …]

    def __len__(self) -> int:
        return len(self.targets)


@lru_cache(maxsize=2)
def shuffled(rows: int, seed: int, epoch: int) -> Rows:
    """The order of an epoch: a pure function of seed and epoch. [rows]"""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def passes(rows: Rows, lengths: npt.NDArray[np.int64], most_rows: int | None = None) -> Iterator[Rows]:
    """Cut rows, in their order, into passes of at most most_rows rows and TOKENS_PER_PASS tokens."""
    start, tokens = 0, 0
    for end, row in enumerate(rows):
        full = tokens + lengths[row] > TOKENS_PER_PASS or end - start == most_rows
        if full and end > start:
            yield rows[start:end]
            start, tokens = end, 0
        tokens += int(lengths[row])
    if start < len(rows):
        yield rows[start:]


def by_length(lengths: npt.NDArray[np.int64]) -> Rows:
    """Rows from the shortest to the longest, for when order does not matter. [rows]"""
    return np.argsort(lengths, kind="stable")


def packed(tokens: Tokens, rows: Rows) -> tuple[Packed, Tensor]:
    """Some rows end to end: ids [n] and their types [n]."""
    some = tokens.select(rows)
    ids, types = (torch.from_numpy(part.astype(np.int64)) for part in (some.ids, some.types))
    return Packed(ids, Lengths(tuple(some.lengths.tolist()))), types
