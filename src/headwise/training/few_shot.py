"""Few rows per class: the head is fitted to means over positions, then the encoder learns by classifying rows and by
comparing them with each other (Gunel et al. 2021, arXiv:2011.01403), and the head is fitted once more."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.core.packed import Packed
from headwise.core.transformer import Head
from headwise.errors import InputError
from headwise.reading.batches import Batch, Rows
from headwise.tasks.task import Array, Task
from headwise.tasks.text_classification import TextClassification

FEW = 16  # rows of a class, up to which the mode is worth a try
CONTRAST = 0.5  # what comparing counts beside classifying
TEMPERATURE = 0.1
PENALTY = 1.0  # on the head's squared weights, as scikit-learn's LogisticRegression has it


def note(task: Task, truth: Array, asked: bool) -> list[str]:
    """A word where the mode fits a table and was not asked for. Raises InputError where it was and does not fit."""
    one_label = isinstance(task, TextClassification) and not task.multi_label
    if asked and not one_label:
        raise InputError("few_shot is for text-classification with one label per text; leave it out")
    if asked or not one_label:
        return []
    typical = int(np.median(np.bincount(truth)))
    return [f"few rows per class ({typical} as a rule): --few-shot may do better"] if typical <= FEW else []


def in_pairs(targets: Array, seed: int, epoch: int) -> Rows:
    """The order of an epoch in which rows of a class come two by two, so that few are alone in a batch. [rows]

    A pure function of its arguments, as that of any other epoch.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(targets))
    pairs = [
        mine[at : at + 2]
        for name in np.unique(targets)
        for mine in [order[targets[order] == name]]
        for at in range(0, len(mine), 2)
    ]
    return np.concatenate([pairs[at] for at in generator.permutation(len(pairs))])


def contrasted(head: Head, task: Task, states: Packed, batch: Batch) -> Tensor:
    """Each row's loss: the task's, and CONTRAST times that of comparing. states [n d] -> [b]"""
    assert batch.targets is not None
    read = head.features(states)  # [k d]
    own = task.losses(task.pooled(head.out(read), batch.counts), batch)
    return own + CONTRAST * contrast(task.pooled(read, batch.counts), batch.targets)


def contrast(features: Tensor, targets: Tensor) -> Tensor:
    """Each row's loss: it is small where a row is near the others of its class and far from the rest. [b d] -> [b]

    That of a row that is alone is 0 (Khosla et al. 2020, arXiv:2004.11362).
    """
    unit = F.normalize(features, dim=1)
    own = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    scores = (unit @ unit.T / TEMPERATURE).masked_fill(own, torch.finfo(unit.dtype).min)  # [b b]
    same = (targets[:, None] == targets) & ~own
    return -(scores.log_softmax(1) * same).sum(1) / same.sum(1).clamp(min=1)


def fit(head: Head, task: Task, features: Tensor, batch: Batch) -> None:
    """Make the head's last layer the best there is for its rows' features [b d], by the task's loss and PENALTY.

    The problem is convex, so there is one. Features are centred and scaled for it, all by the same number: one that
    hardly varies in a few rows must not count for much. The layer then takes that over.
    """
    out = head.out
    assert isinstance(out, nn.Linear)
    mean = features.double().mean(0)
    x = features.double() - mean
    scale = x.square().mean().sqrt().clamp(min=1e-6)
    x = x / scale
    weight = torch.zeros(out.weight.shape, dtype=x.dtype, requires_grad=True)  # [c d]
    bias = torch.zeros(len(weight), dtype=x.dtype, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = task.losses(F.linear(x, weight, bias), batch).sum() + PENALTY / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        out.weight.copy_(weight / scale)
        out.bias.copy_(bias - weight @ mean / scale)
