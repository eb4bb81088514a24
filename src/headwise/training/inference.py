"""Inference: what a model makes of examples, without gradients, in short passes that each take one core."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwise.core.packed import Packed
from headwise.core.transformer import HeadedEncoder
from headwise.reading.batches import Batch, Examples, Rows, by_length, passes
from headwise.reading.text import Tokens
from headwise.tasks.task import Task
from headwise.training.cores import each_on_a_core
from headwise.training.recipe import Precision

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def outputs_of(model: HeadedEncoder, batch: Batch, precision: Precision) -> Tensor:
    """What the model makes of some sequences, or of the positions it is asked about. [k c], [n c] or [m c]"""
    return model.outputs(batch.ids, batch.types, batch.asked, DTYPES[precision])


@torch.inference_mode()
def predicted(
    model: HeadedEncoder,
    task: Task,
    examples: Examples,
    done: Callable[[int, int], None] | None = None,
    precision: Precision = "float32",
) -> tuple[Tensor, float]:
    """What the task keeps and pools of what the model makes of every sequence [k c], or every token [n c]; and the mean
    loss where there are targets.

    done is told after each pass how many rows are done, and of how many; without targets, how many sequences.
    """
    if model.training:
        model.eval()
    counts = examples.counts
    if examples.targets is None and counts is not None:  # rows do not matter yet, a long one may take several passes
        examples = replace(examples, counts=None)

    @torch.inference_mode()
    def make(rows: Rows) -> tuple[Tensor, float]:
        """What is kept of a pass, and the sum of its losses."""
        batch = examples.batch(rows)
        outputs = outputs_of(model, batch, precision)
        losses = None if examples.targets is None else task.losses(task.pooled(outputs, batch.counts), batch)
        return task.kept(outputs, batch), 0.0 if losses is None else float(losses.sum())

    order = by_length(examples.lengths)
    parts = list(passes(order, examples.lengths, model.pass_tokens))
    pieces, rows_done, loss = [], 0, 0.0
    for rows, (kept, lost) in zip(parts, each_on_a_core(make, parts), strict=True):
        pieces.append(kept)
        loss += lost
        rows_done += len(rows)
        if done is not None:
            done(rows_done, len(examples))
    outputs = torch.cat(pieces)
    if len(examples) > 1:
        at = examples.sequences(order)
        at = examples.places(at) if model.head.spec.pool is None else at
        outputs = torch.empty_like(outputs).index_copy_(0, torch.from_numpy(at), outputs)
    total = math.nan if examples.targets is None else float(task.weights(examples.targets[order]).sum())
    return task.pooled(outputs, counts), loss / total


@torch.inference_mode()
def features(
    model: HeadedEncoder,
    tokens: Tokens,
    precision: Precision = "float32",
    pooled: Callable[[Packed], Tensor] = Packed.means,
) -> np.ndarray[Any, Any]:
    """What the encoder makes of every sequence: the mean over its positions, or what else is made of them. [b d]"""
    if model.training:
        model.eval()
    order, examples = by_length(tokens.lengths), Examples(tokens)

    @torch.inference_mode()
    def make(rows: Rows) -> Tensor:
        batch = examples.batch(rows)
        return pooled(model.states(batch.ids, batch.types, DTYPES[precision]))

    parts = list(passes(order, tokens.lengths, model.pass_tokens))
    vectors = torch.cat(list(each_on_a_core(make, parts)))
    return torch.empty_like(vectors).index_copy_(0, torch.from_numpy(order), vectors).numpy()
