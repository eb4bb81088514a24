"""Where it looked: the weights of chosen heads, how far they reach through all layers, and what each head does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headwise.core.attention import Watch, dense_mask
from headwise.core.transformer import HeadedEncoder
from headwise.insight.explanation import Array
from headwise.insight.question import Pieces


@dataclass(frozen=True, eq=False)
class Seen:
    """What watching a model read one input found."""

    attention: Mapping[int, Array]  # layer -> [h t t], for the layers and heads asked for
    rollout: Array  # [t t] how much of each position (column) is in each one (row) after the last layer
    heads: Mapping[str, Array]  # name of a summary -> [L h], see summaries


@torch.no_grad()
def watching(
    model: HeadedEncoder, pieces: Pieces, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None
) -> Seen:
    """One pass over the input. None means all layers, or all heads; the weights of one layer more are held at most.

    Rollout (Abnar & Zuidema 2020, arXiv:2005.00928, section 3): a layer keeps half of each position and mixes in
    half by the mean weights of its heads, rows summing to 1; layers multiply.
    """
    model.eval()
    attention, found = {}, []
    itself = torch.eye(len(pieces.ids))
    rollout = itself
    for layer, weights in enumerate(layer_by_layer(model, pieces)):
        if layers is None or layer in layers:
            attention[layer] = (weights if heads is None else weights[list(heads)]).numpy()
        rollout = (weights.mean(0) + itself) / 2 @ rollout
        found.append(summaries(weights, seen_by_each(model, pieces, layer), pieces))
    named = {name: torch.stack([one[name] for one in found]).numpy() for name in found[0]}
    return Seen(attention, rollout.numpy(), named)


def layer_by_layer(model: HeadedEncoder, pieces: Pieces) -> Iterator[Tensor]:
    """The weights of each layer in turn, [h t t]; none is kept."""
    watch, (ids, types) = Watch(), pieces.packed()
    for layer, _ in enumerate(model.encoder.layers(model.encoder.embeddings(ids, types), None, watch)):
        yield watch.attention.pop(layer)[0]


def seen_by_each(model: HeadedEncoder, pieces: Pieces, layer: int) -> Tensor:
    """How many positions each one may look at in a layer. [t]"""
    lengths = pieces.packed()[0].lengths
    return dense_mask(lengths, lengths, model.encoder.spec.blocks[layer].attention).sum(-1)


def summaries(weights: Tensor, seen: Tensor, pieces: Pieces) -> dict[str, Tensor]:
    """What heads do, from their weights [h t t] and how many positions each one sees [t]: name -> [h].

    previous: the mean weight on the position before; first: on the first position; separator: on the special
    tokens behind it; same_word: on the other pieces of the same word, over positions whose word has some;
    entropy: of a position's weights, as a part of the most there could be.
    """
    word_of = torch.from_numpy(pieces.word_of)
    separators = word_of < 0
    separators[0] = False
    mates = (word_of[:, None] == word_of) & (word_of >= 0) & ~torch.eye(len(word_of), dtype=torch.bool)
    of_several = mates.any(-1)
    spread = torch.special.entr(weights).sum(-1) / seen.log().clamp(min=1e-9)  # [h t], 0 … 1
    return {
        "previous": weights.diagonal(-1, 1, 2).sum(-1) / max(1, len(word_of) - 1),
        "first": weights[:, :, 0].mean(-1),
        "separator": weights[:, :, separators].sum(-1).mean(-1),
        "same_word": (weights * mates).sum((1, 2)) / of_several.sum().clamp(min=1),
        "entropy": spread.mean(-1),
    }
