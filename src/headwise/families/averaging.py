"""A classifier that reads the mean over positions, in families whose own classifiers read the first one, too."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from headwise.core import spec
from headwise.core.attention import Attention
from headwise.core.transformer import Block, Head
from headwise.families import FAMILIES
from headwise.families.checkpoint import Checkpoint

WEIGHT = 1024.0  # of the mean, beside what stood at a position before
SHIFT = 8.0  # of features of some length 1 each, to where relu and gelu change nothing


def averaged(checkpoint: Checkpoint) -> Checkpoint:
    """The same model, but its head's last layer reads the mean over positions, of one length for every sequence.

    Where the family's config has a word for it, that is set, and no weight changes. Elsewhere the encoder gets one
    block more, which puts the mean at every position, and the head's dense layer passes on what it reads. Either way
    transformers opens the model with the same logits. Changes the model it is given.
    """
    family, model = FAMILIES[checkpoint.config["model_type"]], checkpoint.model
    config, encoder = family.averaging(checkpoint.config), model.encoder
    note = "the head reads the mean over positions"
    if len(family.stack(config).blocks) == len(encoder.blocks):
        model.head.spec = replace(model.head.spec, pool="mean")
    else:
        note += ", for which the encoder has one block more"
        last = encoder.spec.blocks[-1]
        encoder.spec = replace(encoder.spec, blocks=(*encoder.spec.blocks, last))
        encoder.blocks.append(mean_block(last, encoder.spec.d_model).train(model.training))
        pass_on(model.head)
    return replace(checkpoint, config=config, notes=(*checkpoint.notes, note))


@torch.no_grad()
def mean_block(this: spec.Block, d_model: int) -> Block:
    """A block that puts at every position the mean over all, normed.

    Query and key are 0, so attention sees all positions alike. Its mean counts WEIGHT times as much as what was at a
    position, and the norm after the sum takes the scale away again. The feed-forward layer adds 0.
    """
    block = Block(this, d_model)
    for part in block.modules():
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
    attention = block.attention.layer
    assert isinstance(attention, Attention)
    nn.init.eye_(attention.value.weight)
    attention.out.weight.copy_(WEIGHT * torch.eye(d_model))
    return block


@torch.no_grad()
def pass_on(head: Head) -> None:
    """Make the dense layer one that leaves features as they are but for its activation: tanh bends them, others are
    fed where they are a straight line."""
    assert isinstance(head.dense, nn.Linear)
    nn.init.eye_(head.dense.weight)
    nn.init.constant_(head.dense.bias, 0.0 if head.spec.activation == "tanh" else SHIFT)
