"""What a family of checkpoints says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwise.core import spec

Config = Mapping[str, Any]  # config.json as it stands
Purpose = Literal["ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMaskedLM", "Model"]
"""What a head is for: how the names of transformers' classes end."""

ACTIVATIONS: dict[str, spec.Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


@dataclass(frozen=True)
class Head:
    """What stands on the encoder for one purpose: the checkpoint's modules -> ours, and (config, labels) -> spec."""

    names: Mapping[str, str]
    spec: Callable[[Config, int], spec.Head]


@dataclass(frozen=True)
class Family:
    """Tables of names and a few functions.

    encoder and each head's names map the checkpoint's modules to ours: `{}` is the layer's number, a tuple one fused
    weight that is several of ours, in order. Encoder names stand below prefix in a checkpoint that has a head, and
    bare in one that has none. dropped names what other tools keep there and none of these heads needs.
    """

    classes: Mapping[str, str]  # config.json's model_type -> how the names of transformers' classes begin
    prefix: str
    encoder: Mapping[str, str | tuple[str, ...]]
    heads: Mapping[Purpose, Head]
    dropped: tuple[str, ...]
    stack: Callable[[Config], spec.Stack]
    averaging: Callable[[Config], Config]  # of a classifier that reads the mean, see averaging.py


def one_more(key: str) -> Callable[[Config], Config]:
    """The config of a model with one block more than this key says."""
    return lambda config: {**config, key: config[key] + 1}


def each_position(name: str, dropout: Callable[[Config], float] = lambda _: 0.0) -> Head:
    """Dropout and a linear layer of this name at every position."""
    return Head({name: "out"}, lambda config, n: spec.Head(n, pool=None, dense=False, dropout=dropout(config)))


def words(config: Config, activation: spec.Activation, norm: spec.Norm, **how: Any) -> spec.Head:
    """The head of pretraining by masked words: dense, activation, norm, and the table of tokens once more.

    Raises ValueError where a checkpoint has another table for it.
    """
    if config.get("tie_word_embeddings") is False:
        raise ValueError("tie_word_embeddings is False, supported is True")
    how = {"activation": activation, "norm": norm, "dropout": 0.0} | how
    return spec.Head(config["vocab_size"], pool=None, tied=True, **how)


POOLED = Head({}, lambda _, n: spec.Head(None, pool="mean", dense=False, dropout=0.0))
"""The mean over a sequence's positions, as sentence-transformers takes it (arXiv:1908.10084, section 3)."""


def activation(config: Config, key: str) -> spec.Activation:
    """The activation a config names. Raises ValueError for one we do not have."""
    name = config.get(key, "gelu")
    if name not in ACTIVATIONS:
        raise ValueError(f"{key} is {name!r}, supported are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
