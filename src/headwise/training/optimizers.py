"""Optimizers and learning rates: which parameter learns how fast, and when."""

from __future__ import annotations

import math
import re

import torch
from torch import nn

from headwise.training.recipe import Recipe


def depth(name: str, blocks: int) -> int:
    """How far a parameter is from the text: embeddings 0, block i at i + 1, what follows the blocks at blocks + 1."""
    if block := re.match(r"encoder\.blocks\.(\d+)\.", name):
        return int(block[1]) + 1
    return 0 if name.startswith("encoder.embeddings.") else blocks + 1


def learning(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that training changes, by name; the others rest."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def groups(model: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Parameters in groups of one learning rate and one weight decay; norms and biases never decay."""
    blocks = len(model.get_submodule("encoder.blocks")._modules)
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in learning(model).items():
        scale = recipe.layerwise_decay ** (blocks + 1 - depth(name, blocks))
        found.setdefault((scale, parameter.dim() > 1), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": recipe.weight_decay if decays else 0.0, "scale": scale}
        for (scale, decays), parameters in sorted(found.items())
    ]


def optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with its bias corrected (arXiv:1711.05101; without the correction small sets are unstable,
    arXiv:2006.05987), or SGD with momentum."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups(model, recipe), lr=recipe.learning_rate, momentum=recipe.momentum)
    betas = (recipe.adam_beta1, recipe.adam_beta2)
    return torch.optim.AdamW(
        groups(model, recipe), lr=recipe.learning_rate, betas=betas, eps=recipe.adam_epsilon, fused=True
    )


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0: up in a line, then down to 0 as the schedule says."""
    warmup = math.ceil(recipe.warmup_ratio * steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    gone = (step - warmup) / max(1, steps - warmup)  # 0 … 1
    shape = {"linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2, "constant": 1.0}
    return recipe.learning_rate * shape[recipe.lr_scheduler_type]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of this rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
