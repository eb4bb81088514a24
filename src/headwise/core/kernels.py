"""The kernels of attention: one written out, to be read and watched, and the fastest for where it runs.

| on a CPU in bfloat16, without gradients | in float32: the fused kernel is a tenth faster in it |
| the same with gradients, up to 512 keys | written out: the fused kernel's backward is up to eight times slower there |
| all else | PyTorch's fused kernels (Dao et al. 2022, arXiv:2205.14135), which never hold the weights |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 512  # keys; the weights of longer sequences take more memory than the fused kernel takes time


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
    """weights(query, key) · value, by the fastest kernel in the table above.

    query [… h t w], key and value [… k s w] -> [… h t w]; k may be a divisor of h.
    """
    half = query.device.type == "cpu" and query.dtype == torch.bfloat16
    if half and not query.requires_grad:
        more: dict[str, Any] = {"mask": mask, "bias": bias, "scale": scale, "dropout": dropout}
        with torch.autocast("cpu", enabled=False):
            return attend(query.float(), key.float(), value.float(), **more).to(query.dtype)
    shared = query.dim() > 2 and query.shape[-3] != key.shape[-3]
    if half and key.shape[-2] <= SHORT:
        if shared:  # [… k s w] -> [… h s w]
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
        mixing = weights(query, key, mask=mask, bias=bias, scale=scale)  # [… h t s]
        return F.dropout(mixing, dropout).to(value.dtype) @ value
    if bias is not None:
        mask = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, dropout_p=dropout, enable_gqa=shared
    )


def has_bfloat16() -> bool:
    """Whether this processor multiplies matrices in bfloat16 faster than in float32."""
    able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # absent in early torch
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))  # Zen 4, Sapphire Rapids and later
