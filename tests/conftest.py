"""What the tests share: a quiet machine without a network, and tiny transformers models to be compared with."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from headwise.core.packed import Packed

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
torch.set_num_threads(1)  # a tiny model is slower on two
settings.register_profile("light", max_examples=20, deadline=None, database=None)
settings.load_profile("light")

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,  # ModernBERT: all, near, near, all
    "vocab_size": 60,
    "max_position_embeddings": 48,
}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "DistilBert": {"dim": 32, "hidden_dim": 48, "n_heads": 4, "n_layers": 3, "seq_classif_dropout": 0.1},
    "Electra": {"embedding_size": 16},
    "ModernBert": {"pad_token_id": 0, "local_attention": 8}
    | dict.fromkeys(["bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"], 1)
    | dict.fromkeys(["attention_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"], 0.1),
}


@torch.no_grad()
def redraw_all(model: nn.Module, std: float = 0.2, norms: float = 1.0) -> nn.Module:
    """Every parameter anew, so that no norm is left at 1, no bias at 0 and no two alike.

    From N(0, std²); a norm's weight from N(norms, std²), or little of what a sequence says would reach the logits and
    a wrong model could pass at 1e-5.
    """
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        for name, parameter in part.named_parameters(recurse=False):
            centre = norms if "Norm" in type(part).__name__ and name == "weight" else 0.0
            parameter.normal_(centre, std, generator=generator)
    return model.eval()


def make_tiny(name: str, head: str = "ForSequenceClassification", **changes: Any) -> nn.Module:
    """A transformers model with redrawn parameters; name is how its classes begin: Bert, XLMRoberta."""
    import transformers

    draws = {key: changes.pop(key) for key in ("std", "norms") if key in changes}
    config = SIZES | OWN_SIZES.get(name, {}) | {"num_labels": 3} | changes
    if name == "DistilBert":
        config = {key: value for key, value in config.items() if key not in SIZES or key.startswith(("voc", "max"))}
    return redraw_all(getattr(transformers, name + head)(getattr(transformers, name + "Config")(**config)), **draws)


def draw_ragged(lengths: tuple[int, ...] = (1, 7, 30, 30, 12), pad: int = 0, seed: int = 0) -> tuple[Packed, dict]:
    """The same sequences of random ids twice: packed, and padded with a mask as transformers wants them."""
    generator = torch.Generator().manual_seed(seed)
    ids = Packed.of([torch.randint(5, 60, (length,), generator=generator) for length in lengths])
    mask = nn.utils.rnn.pad_sequence([torch.ones_like(part) for part in ids.unpack()], batch_first=True)
    padded = nn.utils.rnn.pad_sequence(list(ids.unpack()), batch_first=True, padding_value=pad)
    return ids, {"input_ids": padded, "attention_mask": mask}


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two numbers, as a part of the largest number."""
    assert ours.shape == theirs.shape, f"{list(ours.shape)} is not {list(theirs.shape)}"
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-6)).item()


@pytest.fixture(scope="session")
def redraw() -> Callable[..., nn.Module]:
    return redraw_all


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Any]:
    return make_tiny


@pytest.fixture(scope="session")
def ragged() -> Callable[..., tuple[Packed, dict]]:
    return draw_ragged


@pytest.fixture(scope="session")
def difference() -> Callable[[Tensor, Tensor], float]:
    return largest_difference
