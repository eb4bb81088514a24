"""What several benchmarks measure and draw: the machine's rate, memory, the work of a model, rates of engines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from headwise.core.transformer import Encoder

WARM = 3  # steps before the clock starts: kernels are chosen, memory is taken


def most_products() -> dict[str, float]:
    """Floating-point operations a second of products of 2048 rows, by oneDNN, as prepacked ones are, in each type."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode():
            x, weight = (torch.randn(2048, 2048, dtype=dtype) for _ in range(2))
            laid_out, taken = torch.ops.mkldnn._reorder_linear_weight(weight, None), []
            for _ in range(20):
                began = time.perf_counter()
                torch.ops.mkldnn._linear_pointwise(x, laid_out, None, "none", [], "")
                taken.append(time.perf_counter() - began)
        found[str(dtype).removeprefix("torch.")] = 2 * 2048**3 / float(np.median(taken))
    return found


def most_memory() -> float:
    """The most that this process had in physical memory, in MiB. (getrusage counts what began it, too.)"""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def multiplied(blocks: torch.nn.ModuleList, tokens: int, texts: int, first_only: bool) -> int:
    """How often a weight of the blocks is multiplied. first_only: in the last block only keys and values are made of
    every token, all else of the first one of each text."""

    def weights(*parts: torch.nn.Module) -> int:
        layers = (one for part in parts for one in part.modules() if isinstance(one, torch.nn.Linear))
        return sum(one.weight.numel() for one in layers)

    attention = blocks[-1].attention.layer
    spared = weights(blocks[-1]) - weights(attention.key, attention.value) if first_only else 0
    return weights(blocks) * tokens - spared * (tokens - texts)


def operations(encoder: Encoder, lengths: Sequence[int], first_only: bool) -> float:
    """Multiplications and additions that texts of so many tokens take: two for each weight of a block, and attention's
    products. first_only: as in multiplied."""
    tokens, pairs = sum(lengths), sum(length**2 for length in lengths)
    seen = (len(encoder.blocks) - 1) * pairs + (tokens if first_only else pairs)
    return 2 * multiplied(encoder.blocks, tokens, len(lengths), first_only) + 4 * encoder.spec.d_model * seen


def draw(found: Mapping[str, Sequence[float]], file: Path) -> None:
    """Tokens a second of each, round by round, as bars: the median, the smallest and the largest."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 0.4 * len(found) + 1), layout="constrained")
    shown = dict(sorted(found.items(), key=lambda one: np.median(one[1])))
    middle = [float(np.median(rates)) for rates in shown.values()]
    spread = [[m - min(rates) for m, rates in zip(middle, shown.values(), strict=True)],
              [max(rates) - m for m, rates in zip(middle, shown.values(), strict=True)]]  # fmt: skip
    colors = ["#0b6e4f" if name.startswith("headwise") else "#9aa5ab" for name in shown]
    axes.barh(list(shown), middle, xerr=spread, color=colors)
    axes.set_xlabel("tokens a second")
    figure.savefig(file, dpi=150)
