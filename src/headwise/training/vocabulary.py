"""The vocabulary in use: while a model trains it holds the embeddings of only those tokens that its data has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor, nn

from headwise.core.transformer import HeadedEncoder
from headwise.reading.batches import Examples


@contextmanager
def vocabulary_in_use(model: HeadedEncoder, *parts: Examples) -> Iterator[tuple[Examples, ...]]:
    """Inside, the model's table of embeddings [v d] has a row for each token of these examples only, which come
    back numbered to match; afterwards it is whole again, the trained rows in their places.

    No other row would have got a gradient, so nothing is lost but their weight decay. What is gained is the
    memory, the optimizer's work and the checkpoints' size of a table that is most of a small model: it waits in a
    temporary file, from which the model reads it from then on. Where the head answers with a row of the table each is
    in use.
    """
    if model.head.spec.tied:
        yield parts
        return
    tokens = model.encoder.embeddings.tokens
    used = np.unique(np.concatenate([part.tokens.ids for part in parts]))
    rows = torch.from_numpy(used).long()
    whole = on_disk(tokens.weight.detach())
    tokens.weight = nn.Parameter(tokens.weight.detach()[rows])  # [used d]
    try:
        yield tuple(
            replace(part, tokens=replace(part.tokens, ids=np.searchsorted(used, part.tokens.ids).astype(np.int32)))
            for part in parts
        )
    finally:
        whole[rows] = tokens.weight.detach()
        tokens.weight = nn.Parameter(whole)  # [v d]


def on_disk(table: Tensor) -> Tensor:
    """The same numbers in a temporary file, of which only what is used takes memory; itself where it has no room. [v d]

    What is changed afterwards is private memory, as of any tensor: a forked process changes its own. Where temporary
    files are themselves in memory nothing is gained.
    """
    try:
        with TemporaryFile() as file:  # gone with the tensor
            file.write(np.ascontiguousarray(table.numpy()).data.cast("B"))
            file.flush()
            return torch.from_numpy(np.memmap(file, table.numpy().dtype, "c", shape=tuple(table.shape)))
    except OSError:
        return table
