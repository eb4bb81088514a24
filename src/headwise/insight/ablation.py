"""Heads that matter: take the heads of attention away one by one, and then more and more of the least important."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from headwise.core.transformer import HeadedEncoder
from headwise.insight.explanation import Array, plain
from headwise.reading.batches import Examples
from headwise.tasks.task import Task
from headwise.training.inference import predicted

Done = Callable[[int, int], None]
SHARES = tuple(share / 10 for share in range(10))


@dataclass(frozen=True, eq=False)
class Heads:
    """What each head is worth on some rows: by how much the loss rises and the metric falls without it."""

    rows: int
    metric: str
    shown: str  # the metric's name for people
    loss: float  # with all heads
    score: float
    loss_rise: Array  # [L h]
    score_drop: Array  # [L h]

    @property
    def order(self) -> list[tuple[int, int]]:
        """(layer, head) from the least important to the most, by the loss; from 0."""
        layers, heads = np.unravel_index(np.argsort(self.loss_rise, axis=None, kind="stable"), self.loss_rise.shape)
        return list(zip(layers.tolist(), heads.tolist(), strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"order": [list(head) for head in self.order], **plain(self)}


@dataclass(frozen=True, eq=False)
class Pruning:
    """What it costs to remove the least important heads."""

    rows: int
    metric: str
    shown: str
    shares: Array  # [shares] of the heads
    removed: Array  # [shares] how many that is
    loss: Array  # [shares]
    score: Array  # [shares]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return plain(self)


class Judge:
    """A copy of a model, from which heads can be taken away and to which they come back; the caller's stays whole."""

    def __init__(self, model: HeadedEncoder, task: Task, examples: Examples):
        self.model, self.task, self.examples = copy.deepcopy(model), task, examples

    @property
    def heads(self) -> tuple[int, int]:
        """How many layers, and heads in each."""
        blocks = self.model.encoder.spec.blocks
        return len(blocks), blocks[0].attention.n_heads

    def out(self, layer: int) -> Tensor:
        """What mixes a layer's heads: each has its own columns. [d h·w]"""
        return self.model.encoder.get_parameter(f"blocks.{layer}.attention.layer.out.weight")

    @torch.no_grad()
    def without(self, heads: Sequence[tuple[int, int]], done: Done | None = None) -> tuple[float, float]:
        """Loss and metric where the outputs of these heads, each (layer, head), are 0."""
        outs = {layer: self.out(layer) for layer, _ in heads}
        before = {layer: weight.clone() for layer, weight in outs.items()}
        for layer, head in heads:
            outs[layer].view(len(outs[layer]), self.heads[1], -1)[:, head] = 0
        outputs, loss = predicted(self.model, self.task, self.examples, done)
        for layer, weight in before.items():
            outs[layer].copy_(weight)
        answers = self.task.decide(self.examples, outputs)
        return loss, self.task.scored(self.examples.truth, answers).named(self.task.metric)


def head_importance(model: HeadedEncoder, task: Task, examples: Examples, done: Done | None = None) -> Heads:
    """Take away each head by itself (Michel et al. 2019, arXiv:1905.10650, section 3.2). The model is not changed.

    done is told how many rows are done, of all passes over them.
    """
    judge = Judge(model, task, examples)
    layers, heads = judge.heads
    each = [[], *([(layer, head)] for layer in range(layers) for head in range(heads))]
    found = np.array([judge.without(gone, part_of(done, i, len(each))) for i, gone in enumerate(each)])
    changes = (found[1:] - found[0]).reshape(layers, heads, 2)
    rows, shown, (loss, score) = len(examples.sequences_of_rows), task.metrics[task.metric], found[0].tolist()
    return Heads(rows, task.metric, shown, loss, score, changes[..., 0], -changes[..., 1])


def pruning_curve(
    model: HeadedEncoder,
    task: Task,
    examples: Examples,
    order: Sequence[tuple[int, int]],
    shares: Sequence[float] = SHARES,
    done: Done | None = None,
) -> Pruning:
    """Take away the first 10 %, 20 % … of an order of heads. The model is not changed, and not trained again.

    Rows other than those the order comes from show the honest cost.
    """
    judge = Judge(model, task, examples)
    counts = [round(share * len(order)) for share in shares]
    found = [judge.without(order[:count], part_of(done, i, len(counts))) for i, count in enumerate(counts)]
    loss, score = np.array(found).T
    rows, shown = len(examples.sequences_of_rows), task.metrics[task.metric]
    return Pruning(rows, task.metric, shown, np.array(shares), np.array(counts), loss, score)


def part_of(done: Done | None, part: int, parts: int) -> Done | None:
    """Progress within one of several passes, as progress of all."""
    return None if done is None else lambda rows, total: done(part * total + rows, parts * total)


def as_text(heads: Heads, pruning: Pruning, most: int = 10) -> str:
    """The most important heads and the cost of pruning, for the terminal."""
    name = heads.shown
    lines = [
        f"{name} {heads.score:.4f}, loss {heads.loss:.4f} on {heads.rows:,} rows with all heads",
        "",
        f"layer  head  loss without  {name} without",
    ]
    for layer, head in heads.order[: -most - 1 : -1]:
        loss, score = heads.loss + heads.loss_rise[layer, head], heads.score - heads.score_drop[layer, head]
        lines.append(f"{layer:>5}  {head:>4}  {loss:>12.4f}  {score:>8.4f}")
    lines += [
        "",
        f"without the least important heads, on {pruning.rows:,} other rows",
        "",
        f"heads gone    loss  {name}",
    ]
    columns = zip(pruning.shares, pruning.removed, pruning.loss, pruning.score, strict=True)
    lines += [f"{count:>4} {share:>4.0%}  {loss:>6.4f}  {score:.4f}" for share, count, loss, score in columns]
    return "\n".join(lines)


def as_figure(heads: Heads, pruning: Pruning) -> Figure:
    """What each head is worth as a heat map, beside the cost of pruning."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    limit = float(np.abs(heads.loss_rise).max()) or 1.0
    image = left.imshow(heads.loss_rise, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    figure.colorbar(image, ax=left)
    left.set(title="by how much the loss rises without it", xlabel="head", ylabel="layer")
    right.plot(100 * pruning.shares, pruning.score, marker="o")
    right.set(title="without the least important heads", xlabel="% of the heads gone", ylabel=pruning.shown)
    right.grid(alpha=0.3)
    return figure
