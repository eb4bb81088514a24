"""What a family of checkpoints says about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headwise.core import spec

Config = Mapping[str, Any]  # config.json as it stands

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
class Family:
    """One table of names and two functions.

    encoder and head map the checkpoint's modules to ours: `{}` is the layer's number, a tuple one fused weight
    that is several of ours, in order. Encoder names stand below prefix in a checkpoint that has a head, and
    bare in one that has none. dropped names what other tools keep there and a classifier does not need.
    """

    architectures: Mapping[str, str]  # config.json's model_type -> transformers' class with a classification head
    prefix: str
    encoder: Mapping[str, str | tuple[str, ...]]
    head: Mapping[str, str]
    dropped: tuple[str, ...]
    stack: Callable[[Config], spec.Stack]
    classifier: Callable[[Config, int], spec.Head]  # (config, number of labels)


def activation(config: Config, key: str) -> spec.Activation:
    """The activation a config names. Raises ValueError for one we do not have."""
    name = config.get(key, "gelu")
    if name not in ACTIVATIONS:
        raise ValueError(f"{key} is {name!r}, supported are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
