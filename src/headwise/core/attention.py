"""Self-attention and its relatives: the formula, masks, places, heads (Vaswani et al. 2017, section 3.2).

query = W_Q x       key = W_K x       value = W_V x
weights = softmax(query · key / root of w)          output = W_O (weights · value)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from headwise.core import kernels, spec
from headwise.core.packed import Lengths, Packed, Rectangle


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
    watch: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The formula itself: softmax(query · key · scale + bias) · value.

    query [… t w], key and value [… s w]; mask, true where a query may look, and bias broadcast to [… t s];
    scale is 1 / root of w unless given. Returns [… t w] from the fast kernel; with watch, written out, also
    the weights [… t s], each row of which sums to 1.
    """
    if watch:
        weights = kernels.weights(query, key, mask=mask, bias=bias, scale=scale)
        return weights @ value, weights
    return kernels.attend(query, key, value, mask=mask, bias=bias, scale=scale, dropout=0.0)


@dataclass(frozen=True)
class Watch:
    """Asks for attention weights and receives them: `watch = Watch(layers=[0, 5]); model(ids, watch=watch)`.

    layers and heads count from 0; None means all. The weights are those before dropout. Outputs stay on the
    fast kernel, and layers not asked for cost nothing. With through, the outputs of the watched layers are made
    from the very weights received, those of all heads, so that gradients reach them (without dropout).
    """

    layers: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    through: bool = False
    attention: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)  # layer -> b tensors [h t t]
    memory: dict[int, tuple[Tensor, ...]] = field(default_factory=dict)  # layer -> b tensors [h t s]

    def __post_init__(self) -> None:
        if self.through and self.heads is not None:
            raise ValueError("outputs can be made through the weights of all heads only, not of some")

    def wants(self, layer: int) -> bool:
        return self.layers is None or layer in self.layers


def visible(targets: Tensor, sources: Tensor, layer: spec.Attention) -> Tensor | None:
    """The layer's mask between places [t] and [s], true where seen: [t s], or None where all see all."""
    if layer.window is None and not layer.causal:
        return None
    distance = targets[:, None] - sources
    past = distance >= 0
    if layer.window is None:
        return past
    near = distance.abs() <= layer.window
    return past & near if layer.causal else near


def dense_mask(targets: Lengths, sources: Lengths, layer: spec.Attention) -> Tensor:
    """The whole mask of a batch written out, true where seen. [n m]"""
    same = targets.sequence[:, None] == sources.sequence
    seen = visible(targets.positions, sources.positions, layer)
    return same if seen is None else same & seen


def rotate(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Rotary places: turn the pair (i, i + w/2) of each head by position · base^(-2i/w). x [n h w], positions [n]"""
    half = x.shape[-1] // 2
    speeds = base ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)  # [w/2]
    angles = positions[..., None, None] * speeds  # [n 1 w/2]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class RelativeBias(nn.Module):
    """T5's bias: the distance between two places, in buckets that widen with it, looked up per head."""

    def __init__(self, this: spec.RelativeBias, n_heads: int):
        super().__init__()
        self.spec = this
        self.table = nn.Embedding(this.n_buckets, n_heads)

    def bucket(self, distance: Tensor) -> Tensor:
        """source place - target place -> bucket (arXiv:1910.10683, section 2.1)."""
        n = self.spec.n_buckets // 2 if self.spec.two_sided else self.spec.n_buckets
        after = (distance > 0) * n if self.spec.two_sided else 0
        steps = distance.abs() if self.spec.two_sided else -distance.clamp(max=0)
        exact = n // 2
        ratio = (steps.clamp(min=1) / exact).log() / math.log(self.spec.max_distance / exact)
        widening = (exact + (ratio * (n - exact)).long()).clamp(max=n - 1)
        return after + torch.where(steps < exact, steps, widening)

    def forward(self, targets: Tensor, sources: Tensor) -> Tensor:
        """Places [t] and [s] -> [h t s]"""
        return self.table(self.bucket(sources - targets[:, None])).permute(2, 0, 1)


class Attention(nn.Module):
    """Multi-head attention of packed sequences, each over itself or over its own memory."""

    def __init__(self, this: spec.Attention, d_model: int):
        super().__init__()
        self.spec = this
        self.query = nn.Linear(d_model, this.n_heads * this.d_head, this.bias)
        self.key = nn.Linear(d_model, this.n_kv_heads * this.d_head, this.bias)
        self.value = nn.Linear(d_model, this.n_kv_heads * this.d_head, this.bias)
        self.out = nn.Linear(this.n_heads * this.d_head, d_model, this.out_bias)
        self.scale = this.d_head**-0.5 if this.scaled else 1.0

    def forward(
        self,
        x: Packed,
        memory: Packed | None = None,
        bias: RelativeBias | None = None,
        watch: Watch | None = None,
        layer: int = 0,
    ) -> Tensor:
        """x [n d], memory [m d] (none: x itself) -> [n d]"""
        source = x if memory is None else memory
        made = self.projected(x, source)
        if self.spec.rotary is not None:
            query, key, value = self.separated(made, -2)
            places = x.lengths.positions, source.lengths.positions
            made = rotate(query, places[0], self.spec.rotary), rotate(key, places[1], self.spec.rotary), value
        if watch is not None and watch.wants(layer):
            query, key, value = self.separated(made, -2)
            kept = watch.attention if memory is None else watch.memory
            kept[layer] = self.weigh(x.with_data(query), source.with_data(key), bias, watch.heads)
            if watch.through:
                return self.out(self.mix(kept[layer], source.with_data(value)).flatten(-2))
        return self.out(self.attend(made, x.lengths, source.lengths, bias).flatten(-2))

    def projected(self, x: Packed, source: Packed) -> tuple[Tensor, ...]:
        """Query, key and value. x [n d], source [m d] -> [n h w], [m k w] twice; or all heads in one, [n h+2k w], or
        those of key and value, [m 2k w]"""
        parts = self.query(x.data), self.key(source.data), self.value(source.data)
        return tuple(part.unflatten(-1, (-1, self.spec.d_head)) for part in parts)

    def separated(self, made: Sequence[Tensor], heads: int) -> Sequence[Tensor]:
        """Query, key and value where the heads of some are in one tensor; heads says in which dimension."""
        sizes = [self.spec.n_heads, self.spec.n_kv_heads, self.spec.n_kv_heads]
        *alone, last = made
        return made if len(made) == 3 else (*alone, *torch.split(last, sizes[len(alone) :], heads))

    def attend(self, made: Sequence[Tensor], targets: Lengths, sources: Lengths, bias: RelativeBias | None) -> Tensor:
        """The fast kernel, once for each rectangle of sequences of like length. made as projected -> [n h w]"""
        pieces, sources = [], sources.like(targets)
        padded = [side.padded(part) for side, part in zip((targets, sources, sources), made, strict=False)]
        for target, source, *parts in zip(targets.rectangles, sources.rectangles, *padded, strict=True):
            q, k, v = self.separated([part.transpose(1, 2) for part in parts], 1)  # [rows h t w], [rows k s w] twice
            mask, added = self.limits(target, source, bias)
            dropout = self.spec.dropout if self.training else 0.0
            y = kernels.attend(q, k, v, mask=mask, bias=added, scale=self.scale, dropout=dropout)  # [rows h t w]
            pieces.append(y.transpose(1, 2))  # [rows t h w]
        return targets.packed(pieces)

    def limits(
        self, target: Rectangle, source: Rectangle, bias: RelativeBias | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """What a rectangle's cells may see, broadcast to [rows h t s], and what is added to their scores [h t s]."""
        mask = visible(target.places, source.places, self.spec)
        if not source.full:
            real = source.keys  # [rows 1 1 s]
            # Padding sees everything: nobody reads its row, but a row that sees nothing would be NaN.
            mask = real if mask is None else mask & real | ~target.real[:, None, :, None]
        return mask, None if bias is None else bias(target.places, source.places)

    def weigh(
        self, query: Packed, key: Packed, bias: RelativeBias | None, heads: Sequence[int] | None
    ) -> tuple[Tensor, ...]:
        """The weights of some heads, written out sequence by sequence: b tensors [h t s]."""
        heads = list(range(self.spec.n_heads) if heads is None else heads)
        kv_heads = [head * self.spec.n_kv_heads // self.spec.n_heads for head in heads]
        kept = []
        for q, k in zip(query.unpack(), key.unpack(), strict=True):  # [t h w], [s k w]
            targets, sources = (torch.arange(len(part), device=part.device) for part in (q, k))
            added = None if bias is None else bias(targets, sources)[heads]
            mask = visible(targets, sources, self.spec)
            q, k = q[:, heads].transpose(0, 1), k[:, kv_heads].transpose(0, 1)
            kept.append(kernels.weights(q, k, mask=mask, bias=added, scale=self.scale))
        return tuple(kept)

    def mix(self, weights: Sequence[Tensor], value: Packed) -> Tensor:
        """What attend does, from weights already written out: b tensors [h t s], value [m k w] -> [n h w]"""
        shared = self.spec.n_heads // self.spec.n_kv_heads
        pairs = zip(weights, value.unpack(), strict=True)  # [h t s], [s k w]
        mixed = [each @ v.transpose(0, 1).repeat_interleave(shared, 0) for each, v in pairs]  # [h t w]
        return torch.cat([each.transpose(0, 1) for each in mixed])
