"""The Transformer, assembled from a spec: embeddings, blocks, encoder, decoder, both, and a head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from operator import methodcaller
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from headwise.core import kernels, spec
from headwise.core.attention import Attention, RelativeBias, Watch
from headwise.core.packed import Packed

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "tanh": torch.tanh,
}


def norm(this: spec.Norm | None, d: int) -> nn.Module:
    """The norm a spec asks for; the identity where it asks for none."""
    if this is None:
        return nn.Identity()
    return nn.RMSNorm(d, this.eps) if this.kind == "rms" else nn.LayerNorm(d, this.eps, bias=this.bias)


class Nothing(nn.Module):
    """Stands for a table that a model does not have: adds 0 to whatever it is summed with."""

    def forward(self, *_: Any) -> float:
        return 0.0


class Dropout(nn.Dropout):
    """Dropout by our own kernel; skipped where nothing is dropped, as many small calls add up in asking."""

    def forward(self, x: Tensor) -> Tensor:
        """[…] -> […]"""
        return kernels.dropped(x, self.p) if self.training and self.p > 0 else x


class Sinusoids(nn.Module):
    """Section 3.5 of the original: sines, then cosines, of a place at d/2 wavelengths from 2π to 10000·2π.

    Sines fill the first half of d, as in the authors' own code and in Marian (the paper's text alternates them).
    """

    def forward(self, positions: Tensor, like: Tensor) -> Tensor:
        """positions [n], any number of them -> [n d]"""
        half = like.shape[-1] // 2
        speeds = 10000 ** (-torch.arange(half, device=like.device, dtype=torch.float32) / half)
        angles = positions[..., None] * speeds
        return torch.cat([angles.sin(), angles.cos()], -1).to(like.dtype)


class Places(nn.Embedding):
    """A learned vector for each place (arXiv:1705.03122)."""

    def __init__(self, this: spec.Embeddings):
        super().__init__(this.n_positions + this.first_position, this.d_embedding)
        self.first = this.first_position

    def forward(self, positions: Tensor, like: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(positions + self.first)


class Embeddings(nn.Module):
    """What each position starts as: its token, place and type, summed."""

    def __init__(self, this: spec.Embeddings, d_model: int):
        super().__init__()
        d = this.d_embedding
        self.scale = this.scale
        self.tokens = nn.Embedding(this.vocab_size, d)
        self.positions = {"learned": Places(this), "sinusoidal": Sinusoids(), None: Nothing()}[this.positions]
        self.types = nn.Embedding(this.n_types, d) if this.n_types else Nothing()
        self.norm = norm(this.norm, d)
        self.dropout = Dropout(this.dropout)
        self.project = nn.Identity() if d == d_model else nn.Linear(d, d_model)

    def forward(self, ids: Packed, types: Tensor | None = None, vectors: Tensor | None = None) -> Packed:
        """ids [n], types [n] (none: all of type 0), vectors [n d] (none: those of the ids) -> [n d]"""
        tokens = (self.tokens(ids.data) if vectors is None else vectors) * self.scale
        kinds = torch.zeros_like(ids.data) if types is None else types
        x = tokens + self.positions(ids.lengths.positions, tokens) + self.types(kinds)
        projected = self.project(self.dropout(self.norm(x)))
        return ids.with_data(projected.to(x.dtype))  # what is added up stays as it is under autocast


class FeedForward(nn.Module):
    """The same two linear layers at every position; gated, a third decides what passes."""

    def __init__(self, this: spec.FeedForward, d_model: int):
        super().__init__()
        self.spec = this
        self.activation = ACTIVATIONS[this.activation]
        self.up = nn.Linear(d_model, this.d_ff, this.bias)
        self.gate = nn.Linear(d_model, this.d_ff, this.bias) if this.gated else None
        self.down = nn.Linear(this.d_ff, d_model, this.bias)
        self.dropout = Dropout(this.dropout)

    def forward(self, x: Packed) -> Tensor:
        """[n d] -> [n f] -> [n d]"""
        passing = () if self.gate is None else (self.up(x.data),)
        return kernels.remade(self.mixed, self.pre_activation(x.data), *passing)

    def mixed(self, taken: Tensor, *passing: Tensor) -> Tensor:
        """What the activation takes, and where gated what its numbers are multiplied by. [n f] each -> [n d]"""
        return self.down(self.dropout(math.prod(passing, start=self.activation(taken))))

    @property
    def pre_activation(self) -> nn.Linear:
        """The layer that makes what the activation takes."""
        return self.up if self.gate is None else self.gate


class Residual(nn.Module):
    """x + layer(x), with dropout on what is added and a norm before the layer or after the sum.

    With first, attention is asked for the first position of each sequence alone, which looks at all of them.
    """

    def __init__(self, layer: nn.Module, before: nn.Module, after: nn.Module, dropout: float):
        super().__init__()
        self.before = before
        self.layer = layer
        self.dropout = Dropout(dropout)
        self.after = after

    def forward(self, x: Packed, *rest: Any, first: bool = False) -> Packed:
        """[n d] -> [n d], or [b d]"""
        inner = x.with_data(self.before(x.data))
        if first:
            x, inner, rest = x.firsts(), inner.firsts(), (inner, *rest[1:])
        added = self.layer(inner, *rest)
        return x.with_data(self.after(x.data + self.dropout(added)))


class Block(nn.Module):
    """Attention, attention over a memory where there is one, feed-forward."""

    def __init__(self, this: spec.Block, d_model: int):
        super().__init__()

        def residual(layer: nn.Module, normed: bool = True) -> Residual:
            before = norm(this.norm if this.pre_norm and normed else None, d_model)
            after = norm(None if this.pre_norm else this.norm, d_model)
            return Residual(layer, before, after, this.dropout)

        self.attention = residual(Attention(this.attention, d_model), this.first_norm)
        self.memory = residual(Attention(this.memory, d_model)) if this.memory else None
        self.feed_forward = residual(FeedForward(this.feed_forward, d_model))

    def forward(
        self,
        x: Packed,
        memory: Packed | None = None,
        bias: RelativeBias | None = None,
        watch: Watch | None = None,
        layer: int = 0,
        first: bool = False,
    ) -> Packed:
        """x [n d], memory [m d] -> [n d], or of first positions alone [b d]"""
        x = self.attention(x, None, bias, watch, layer, first=first)
        if self.memory is not None:
            x = self.memory(x, memory, None, watch, layer)
        return self.feed_forward(x)


class Stack(nn.Module):
    """Blocks one after the other; with causal attention a decoder, without an encoder."""

    def __init__(self, this: spec.Stack):
        super().__init__()
        self.spec = this
        self.embeddings = Embeddings(this.embeddings, this.d_model)
        self.bias = RelativeBias(this.relative_bias, this.blocks[0].attention.n_heads) if this.relative_bias else None
        self.blocks = nn.ModuleList(Block(block, this.d_model) for block in this.blocks)
        self.norm = norm(this.final_norm, this.d_model)

    def layers(self, x: Packed, memory: Packed | None, watch: Watch | None, first: bool = False) -> Iterator[Packed]:
        """Embedded positions [n d] through one block after the other: what each makes of them. [n d]

        first: the last block makes first positions alone, [b d]. All it makes of others nobody would read.
        """
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            x = block(x, memory, self.bias, watch, layer, first and layer == last)
            yield x

    def run(self, x: Packed, memory: Packed | None, watch: Watch | None, first: bool = False) -> Packed:
        """Embedded positions [n d] through every block and the last norm -> [n d], or [b d]"""
        for made in self.layers(x, memory, watch, first):
            x = made
        return x.with_data(self.norm(x.data))


class Encoder(Stack):
    """Every position sees every other one of its sequence, or those in its window."""

    def forward(
        self,
        ids: Packed,
        types: Tensor | None = None,
        watch: Watch | None = None,
        vectors: Tensor | None = None,
        first: bool = False,
    ) -> Packed:
        """ids [n], types [n], vectors [n d] in place of the tokens' own -> [n d], or of first positions alone [b d]"""
        return self.run(self.embeddings(ids, types, vectors), None, watch, first)


class Decoder(Stack):
    """Every position sees those before it, and a memory where its blocks have attention for one."""

    def forward(self, ids: Packed, memory: Packed | None = None, watch: Watch | None = None) -> Packed:
        """ids [n], memory [m d] -> [n d]"""
        return self.run(self.embeddings(ids), memory, watch)


class EncoderDecoder(nn.Module):
    """The decoder's memory is what the encoder made of the source."""

    def __init__(self, encoder: spec.Stack, decoder: spec.Stack):
        super().__init__()
        self.encoder = Encoder(encoder)
        self.decoder = Decoder(decoder)

    def forward(self, source: Packed, target: Packed, watch: Watch | None = None) -> Packed:
        """source ids [m], target ids [n] -> [n d]; watch sees the decoder, watch the encoder by itself."""
        return self.decoder(target, self.encoder(source), watch)


POOLS: dict[str | None, Callable[[Packed], Tensor]] = {
    "first": lambda x: x.firsts().data,
    "mean": methodcaller("means"),  # a rectangle has its own
    None: lambda x: x.data,
}


class Words(nn.Module):
    """A number for each token of the table: how well it goes with a vector."""

    def __init__(self, vocab_size: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """[n e], [v e] -> [n v]"""
        return F.linear(x, table, self.bias)


class Head(nn.Module):
    """From the positions of a sequence to its numbers, or those of each position: pool, a dense layer, a linear one."""

    def __init__(self, this: spec.Head, d_model: int):
        super().__init__()
        self.spec = this
        self.dropout_before = Dropout(this.dropout_before)
        d = this.d_dense or d_model
        self.dense = nn.Linear(d_model, d, this.dense_bias) if this.dense else nn.Identity()
        self.activation = ACTIVATIONS[this.activation] if this.dense else nn.Identity()
        self.norm = norm(this.norm, d)
        self.dropout = Dropout(this.dropout)
        last = Words if this.tied else partial(nn.Linear, d)
        self.out = nn.Identity() if this.n_labels is None else last(this.n_labels)

    def features(self, x: Packed) -> Tensor:
        """What the last layer reads. [n d] -> [b d], or [n d] where nothing is pooled"""
        pooled = self.dropout_before(POOLS[self.spec.pool](x))
        return self.dropout(self.norm(self.activation(self.dense(pooled))))

    def forward(self, x: Packed, table: Tensor | None = None) -> Tensor:
        """[n d] -> [b d] -> [b n_labels], or [n n_labels] where nothing is pooled; tied to the tokens' table [v e]"""
        return self.out(self.features(x), table) if self.spec.tied else self.out(self.features(x))


class HeadedEncoder(nn.Module):
    """An encoder and a head: a sequence in, its numbers out."""

    bound: ClassVar[float] = 1e-4  # of what a number may differ on another machine, as a part of itself above 1
    pass_tokens: ClassVar[int] = 1024  # asked at once: what goes from layer to layer stays in a core's cache

    def __init__(self, encoder: spec.Stack, head: spec.Head):
        super().__init__()
        self.encoder = Encoder(encoder)
        self.head = Head(head, encoder.d_model)

    @property
    def first_only(self) -> bool:
        """Whether the last block makes the first position of each sequence alone: the head reads no other."""
        return self.head.spec.pool == "first" and not kernels.plain()

    def forward(
        self, ids: Packed, types: Tensor | None = None, watch: Watch | None = None, vectors: Tensor | None = None
    ) -> Tensor:
        """ids [n], types [n], vectors [n d] in place of the tokens' own -> outputs [b n_labels] or [n n_labels]"""
        return self.answers(self.encoder(ids, types, watch, vectors, self.first_only and watch is None))

    def states(self, ids: Packed, types: Tensor, dtype: torch.dtype = torch.float32, first: bool = False) -> Packed:
        """What the encoder makes of some sequences, or of first positions alone. [n d] or [b d]

        In bfloat16 its matrix products take numbers rounded to it, cast once a pass from weights that stay in float32
        (Micikevicius et al. 2018, arXiv:1710.03740); norms and residuals stay in float32.
        """
        with torch.autocast(types.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            return self.encoder(ids, types, first=first)

    def outputs(
        self, ids: Packed, types: Tensor, asked: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """What the head makes of that, or of the m positions where asked [n] is true. [b c], [n c] or [m c]"""
        states = self.states(ids, types, dtype, self.first_only)
        return self.answers(states if asked is None else states.only(asked))

    def answers(self, states: Packed) -> Tensor:
        """What the head makes of the encoder's states. [n d] -> [b n_labels] or [n n_labels]"""
        return self.head(states, self.encoder.embeddings.tokens.weight)


class Undrawn(TorchFunctionMode):
    """Inside, modules are made with weights that hold whatever was in memory: a file, or initialise, fills them.

    What PyTorch draws by itself would be thrown away. Its meta device draws nothing either, but loads its compiler to
    find that out: 800 modules, which take longer than a small model.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        drawing = getattr(function, "__module__", None) == nn.init.__name__
        return None if drawing else function(*args, **(kwargs or {}))


def initialise(module: nn.Module, generator: torch.Generator, std: float = 0.02) -> None:
    """Draw a module's linear and embedding weights from N(0, std²), biases 0 and norms 1, as BERT does."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm | nn.RMSNorm):
            part.reset_parameters()
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, 0.0, std, generator)
        if isinstance(part, nn.Linear | Words) and part.bias is not None:
            nn.init.zeros_(part.bias)
