"""Frozen layers: what lies below those that learn rests, and what it makes of the data is computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from headwise.core.packed import Packed
from headwise.core.transformer import HeadedEncoder
from headwise.reading.batches import Examples, Rows, by_length, passes
from headwise.reading.text import Tokens
from headwise.training.cores import each_on_a_core
from headwise.training.inference import DTYPES
from headwise.training.recipe import Precision, Recipe

MOST_KEPT = 2**31  # bytes; what would take more is computed anew at each step
Done = Callable[[int, int], None]  # told how many sequences are read, and of how many
Counting = Callable[[str], AbstractContextManager[Done]]


class Below(nn.Module):
    """The embeddings and the lowest blocks at rest, in the place of the embeddings: no weight of theirs learns."""

    def __init__(self, embeddings: nn.Module, blocks: Sequence[nn.Module], bias: nn.Module | None):
        super().__init__()
        self.at_rest = embeddings.eval(), [block.eval() for block in blocks], bias  # no submodules: none is to learn

    @property
    def tokens(self) -> nn.Module:
        """The table of tokens, which some heads answer with."""
        return self.at_rest[0].tokens  # type: ignore[return-value]

    @torch.no_grad()
    def forward(self, ids: Packed, types: Tensor | None = None, vectors: Tensor | None = None) -> Packed:
        """ids [n], types [n], vectors [n d] -> [n d]"""
        embeddings, blocks, bias = self.at_rest
        x = embeddings(ids, types, vectors)
        for layer, block in enumerate(blocks):
            x = block(x, None, bias, None, layer)
        return x


class Kept(Below):
    """The same, which knows what it makes of each position of the data, by the position's number."""

    def __init__(self, below: Below, states: Tensor):
        super().__init__(*below.at_rest)
        self.states = (states,)  # [N d]; neither a weight nor a buffer, as it is no part of the model

    def forward(self, ids: Packed, types: Tensor | None = None, vectors: Tensor | None = None) -> Packed:
        """ids [n], numbers of positions -> [n d]"""
        return ids.with_data(self.states[0][ids.data].float())


class Passed(nn.Module):
    """Stands where a block was that Below has."""

    def forward(self, x: Packed, memory: None, bias: nn.Module | None, watch: None, layer: int, first: bool) -> Packed:
        """[n d] -> [n d], or [b d]"""
        return x.firsts() if first else x


@contextmanager
def frozen(
    model: HeadedEncoder,
    recipe: Recipe,
    *parts: Examples,
    counting: Counting = lambda what: nullcontext(lambda read, total: None),
) -> Iterator[tuple[Examples, ...]]:
    """Inside, the embeddings and the recipe's number of lowest blocks rest; afterwards the model is whole again.

    What these make of every position of the examples is computed once, without dropout, and the examples come back
    numbered to match. Where that is more than MOST_KEPT, or masks are drawn anew each epoch, as for a head that answers
    with the tokens' table, it is computed at each step.
    """
    layers, encoder = recipe.frozen_layers, model.encoder
    if not layers:
        yield parts
        return
    embeddings, blocks = encoder.embeddings, list(encoder.blocks[:layers])
    below = Below(embeddings, blocks, encoder.bias)
    size = sum(len(part.tokens.ids) for part in parts) * encoder.spec.d_model * DTYPES[recipe.precision].itemsize
    try:
        for layer in range(layers):
            encoder.blocks[layer] = Passed()
        encoder.embeddings = below  # type: ignore[assignment]
        if size <= MOST_KEPT and not model.head.spec.tied:
            tokens = Tokens.joined([part.tokens for part in parts])
            with counting("what the frozen layers make of the texts") as done:
                states = kept(below, tokens, encoder.spec.d_model, recipe.precision, done)
            encoder.embeddings, parts = Kept(below, states), numbered(parts)  # type: ignore[assignment]
        yield parts
    finally:
        encoder.embeddings = embeddings
        for layer, block in enumerate(blocks):
            encoder.blocks[layer] = block


@torch.no_grad()
def kept(below: Below, tokens: Tokens, width: int, precision: Precision, done: Done) -> Tensor:
    """What the resting layers make of every position. [N d], in the type that products are computed in"""
    examples, dtype = Examples(tokens), DTYPES[precision]
    states = torch.empty(len(tokens.ids), width, dtype=dtype)  # [N d]

    @torch.inference_mode()
    def make(rows: Rows) -> Tensor:
        batch = examples.batch(rows)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return below(batch.ids, batch.types).data.to(dtype)  # [n d]

    some = list(passes(by_length(tokens.lengths), tokens.lengths, HeadedEncoder.pass_tokens))
    read = 0
    for rows, made in zip(some, each_on_a_core(make, some), strict=True):
        states[torch.from_numpy(tokens.places(rows))] = made
        read += len(rows)
        done(read, len(tokens))
    return states


def numbered(parts: Sequence[Examples]) -> tuple[Examples, ...]:
    """The same examples, with the number of each position among those of all parts in the place of its token."""
    found, start = [], 0
    for part in parts:
        end = start + len(part.tokens.ids)
        found.append(replace(part, tokens=replace(part.tokens, ids=np.arange(start, end, dtype=np.int32))))
        start = end
    return tuple(found)


def rest(model: HeadedEncoder, layers: int) -> str:
    """What does not learn where so many of the lowest blocks are frozen."""
    below = [model.encoder.embeddings, *model.encoder.blocks[:layers]]
    some = sum(weight.numel() for part in below for weight in part.parameters())
    every = sum(weight.numel() for weight in model.parameters())
    of = len(model.encoder.blocks)
    return f"frozen: the embeddings and {layers} of {of} blocks rest, {some / every:.1%} of {every:,} weights"
