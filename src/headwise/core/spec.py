"""What a Transformer is made of, as data. The defaults are the original one (Vaswani et al. 2017, arXiv:1706.03762).

A family (headwise.families) turns a checkpoint's config into these; headwise.core.transformer builds from them.
A field is here only because a checkpoint needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Activation = Literal["relu", "gelu", "gelu_tanh", "silu", "tanh"]


@dataclass(frozen=True)
class Norm:
    """Layer normalisation (arXiv:1607.06450), or by the root mean square alone (arXiv:1910.07467)."""

    kind: Literal["layer", "rms"] = "layer"
    eps: float = 1e-5
    bias: bool = True


@dataclass(frozen=True)
class Attention:
    """One layer of attention (section 3.2), over its own sequence or over a memory."""

    n_heads: int = 8
    n_kv_heads: int = 8  # fewer: each is shared by n_heads / n_kv_heads query heads (arXiv:2305.13245)
    d_head: int = 64
    bias: bool = True  # of query, key and value
    out_bias: bool = True
    causal: bool = False  # a position sees itself and what came before
    window: int | None = None  # a position sees at most this many others on either side
    rotary: float | None = None  # base of the rotary angles (arXiv:2104.09864)
    scaled: bool = True  # divide by the root of d_head; T5 does not
    dropout: float = 0.1


@dataclass(frozen=True)
class FeedForward:
    """The two linear layers of section 3.3, or three where one gates another (arXiv:2002.05202)."""

    d_ff: int = 2048
    activation: Activation = "relu"
    gated: bool = False
    bias: bool = True
    dropout: float = 0.0  # between the layers


@dataclass(frozen=True)
class Block:
    """Attention, attention over a memory if there is one, feed-forward; each with norm, dropout and residual."""

    attention: Attention = Attention()
    memory: Attention | None = None
    feed_forward: FeedForward = FeedForward()
    norm: Norm = Norm()
    pre_norm: bool = False  # norm before the layer rather than after the sum (arXiv:2002.04745)
    first_norm: bool = True  # ModernBERT's first block has no norm before its attention
    dropout: float = 0.1


@dataclass(frozen=True)
class Embeddings:
    """What a position starts as: token, place and type."""

    vocab_size: int = 37000
    d_embedding: int = 512  # where it is not d_model, a linear layer follows (ELECTRA)
    scale: float = 512**0.5
    positions: Literal["learned", "sinusoidal"] | None = "sinusoidal"
    n_positions: int = 512
    first_position: int = 0  # RoBERTa and BART count from 2
    n_types: int = 0
    norm: Norm | None = None
    dropout: float = 0.1


@dataclass(frozen=True)
class RelativeBias:
    """A learned number per head and distance, added to the scores of every block (T5, arXiv:1910.10683)."""

    n_buckets: int = 32
    max_distance: int = 128
    two_sided: bool = True


@dataclass(frozen=True)
class Stack:
    """An encoder or a decoder: embeddings, blocks one after the other, a last norm."""

    d_model: int = 512
    embeddings: Embeddings = Embeddings()
    blocks: tuple[Block, ...] = (Block(),) * 6
    relative_bias: RelativeBias | None = None
    final_norm: Norm | None = None

    def with_dropout(self, p: float) -> Stack:
        """The same stack with this dropout everywhere."""

        def block(this: Block) -> Block:
            memory = this.memory and replace(this.memory, dropout=p)
            attention = replace(this.attention, dropout=p)
            between = p if this.feed_forward.dropout else 0.0  # only where the config has one there
            feed_forward = replace(this.feed_forward, dropout=between)
            return replace(this, attention=attention, memory=memory, feed_forward=feed_forward, dropout=p)

        return replace(
            self, embeddings=replace(self.embeddings, dropout=p), blocks=tuple(block(this) for this in self.blocks)
        )


@dataclass(frozen=True)
class Head:
    """From the positions of a sequence to its answer, as a family's own checkpoints do it."""

    n_labels: int | None = 2  # numbers per sequence, or per position; None: what is pooled is the answer
    pool: Literal["first", "mean"] | None = "first"  # None: every position has an answer of its own
    dense: bool = True  # a layer before the last one, with activation and norm
    d_dense: int | None = None  # what the dense layer makes of d_model, where that is not as wide again
    dense_bias: bool = True
    activation: Activation = "tanh"
    tied: bool = False  # the last layer is the table of tokens once more, with a bias (arXiv:1608.05859)
    norm: Norm | None = None
    dropout_before: float = 0.0
    dropout: float = 0.1
