"""The kernels of attention: one written out, to be read and watched, and the fast one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def weights(query: Tensor, key: Tensor, *, mask: Tensor | None, bias: Tensor | None, scale: float | None) -> Tensor:
    """softmax(query · key · scale + bias), written out: [… t w], [… s w] -> [… t s]; mask is true where seen."""
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float | None,
    dropout: float,
) -> Tensor:
    """weights(query, key) · value without ever holding the weights, where the machine has a kernel that can.

    query [… h t w], key and value [… k s w] -> [… h t w]; k may be a divisor of h.
    """
    if bias is not None:
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    shared = query.dim() > 2 and query.shape[-3] != key.shape[-3]
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, dropout_p=dropout, enable_gqa=shared
    )
