"""Training speed on a GPU beside transformers: real tokens a second, in turn, on the same random weights and tokens.

    python benchmarks/gpu.py [--lengths 128 512 real] [--layers 12] [--width 768] [--batch 64] [--rounds 5]
    python benchmarks/gpu.py --device cpu --layers 2 --width 64 --batch 4 --steps 2 --rounds 1   # to try the script

A BERT of random weights learns two classes from random tokens, in bfloat16 by autocast, with fused AdamW. Lengths are
fixed, or "real": drawn from a log-normal like that of SST-2, MRPC and IMDb together (median 64, at most 512). Tokens
are on the device beforehand. Peers are transformers' BERT, padded to the longest of a batch:

    sdpa       as transformers loads it
    compiled   the same through torch.compile; the time it takes to compile is told apart
    varlen     without padding by flash_attention_2, where the flash-attn package is installed

Prints a table for each length: tokens a second, the share of the device's own rate of bfloat16 products, the peak
memory, and the median ratio of headwise to the peer by round, with the smallest and largest.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from measures import operations
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from headwise.core.packed import Lengths, Packed
from headwise.core.transformer import HeadedEncoder, initialise
from headwise.families.bert import classifier, stack

SEED = 0
VOCABULARY = 30_522
WARM = 5  # steps before the clock starts
Batch = tuple[list[Tensor], Tensor]  # ids of each text, labels [b]


@dataclass
class Side:
    """One that trains, and what came of it."""

    name: str
    logits: Callable[[list[Tensor]], Tensor]
    model: nn.Module
    compiling: float = 0.0
    rates: list[float] = field(default_factory=list)
    memory: float = 0.0

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)

    def step(self, batch: Batch, device: torch.device) -> None:
        """Forward, backward, update."""
        with torch.autocast(device.type, torch.bfloat16):
            logits = self.logits(batch[0])
        nn.functional.cross_entropy(logits.float(), batch[1]).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def round(self, batches: Sequence[Batch], device: torch.device) -> float:
        """All batches once; seconds."""
        wait(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        for batch in batches:
            self.step(batch, device)
        wait(device)
        if device.type == "cuda":
            self.memory = torch.cuda.max_memory_allocated() / 2**20
        return time.perf_counter() - began


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def config_of(given: argparse.Namespace) -> BertConfig:
    """A BERT of some size without dropout, which not every kernel has."""
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=given.width,
        intermediate_size=4 * given.width,
        num_attention_heads=max(1, given.width // 64),
        num_hidden_layers=given.layers,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def ours(given: argparse.Namespace, device: torch.device) -> Side:
    """headwise: texts end to end."""
    config = config_of(given).to_dict()
    model = HeadedEncoder(stack(config), classifier(config, 2))
    initialise(model, torch.Generator().manual_seed(SEED))
    model.to(device).train()

    def logits(texts: list[Tensor]) -> Tensor:
        ids = Packed(torch.cat(texts), Lengths(tuple(map(len, texts)), device))
        return model(ids)

    return Side("headwise", logits, model)


def theirs(name: str, given: argparse.Namespace, device: torch.device) -> Side:
    """transformers: texts padded, but for varlen. Raises ImportError where a peer is not installed."""
    attention = "flash_attention_2" if name == "varlen" else "sdpa"
    torch.manual_seed(SEED)
    model = BertForSequenceClassification._from_config(config_of(given), attn_implementation=attention)
    model.to(device).train()
    forward = torch.compile(model) if name == "compiled" else model

    def logits(texts: list[Tensor]) -> Tensor:
        ids = nn.utils.rnn.pad_sequence(texts, batch_first=True)  # [b t]
        lengths = torch.tensor(list(map(len, texts)), device=device)
        mask = torch.arange(ids.shape[1], device=device) < lengths[:, None]
        return forward(input_ids=ids, attention_mask=mask.long()).logits

    return Side(name, logits, model)


def batches_of(length: str, given: argparse.Namespace, device: torch.device) -> list[Batch]:
    """Random tokens of fixed or real lengths."""
    draw = np.random.default_rng(SEED)
    found = []
    for _ in range(given.steps):
        drawn = draw.lognormal(np.log(64), 0.9, given.batch).clip(4, 512)
        lengths = drawn.astype(int) if length == "real" else np.full(given.batch, int(length))
        texts = [torch.from_numpy(draw.integers(1, VOCABULARY, n)).to(device) for n in lengths]
        found.append((texts, torch.from_numpy(draw.integers(0, 2, given.batch)).to(device)))
    return found


def most_products(device: torch.device, n: int) -> float:
    """Floating-point operations a second of bfloat16 products of n × n."""
    x, taken = torch.randn(n, n, device=device, dtype=torch.bfloat16), []
    for _ in range(12):
        wait(device)
        began = time.perf_counter()
        x @ x
        wait(device)
        taken.append(time.perf_counter() - began)
    return 2 * n**3 / float(np.median(taken[2:]))


def compared(length: str, given: argparse.Namespace, device: torch.device, peak: float) -> None:
    """All sides in turn on batches of one length, and a table."""
    batches, sides = batches_of(length, given, device), [ours(given, device)]
    for name in given.against:
        try:
            sides.append(theirs(name, given, device))
        except (ImportError, ValueError) as error:
            print(f"{name}: cannot be had here ({str(error).splitlines()[0][:100]})")
    lengths = [len(text) for texts, _ in batches for text in texts]
    tokens, encoder = sum(lengths), sides[0].model.encoder
    for side in sides:
        side.compiling = side.round(batches[:WARM], device)
    for _ in range(given.rounds):
        for side in sides:
            side.rates.append(tokens / side.round(batches, device))
    print(f"\n{length} tokens, batches of {given.batch}, {given.layers} × {given.width}")
    print("| | tokens/s | of the rate of products | headwise is faster by | peak memory | first steps |")
    print("|---|---|---|---|---|---|")
    for side in sides:
        ratios, middle = np.array(sides[0].rates) / np.array(side.rates), float(np.median(side.rates))
        work = 3 * operations(encoder, lengths, first_only=side is sides[0])  # forward, and twice as much backward
        print(
            f"| {side.name} | {middle:,.0f} | {middle / tokens * work / peak:.0%} | {np.median(ratios):.2f} "
            f"({ratios.min():.2f} to {ratios.max():.2f}) | {side.memory:,.0f} MiB | {side.compiling:.1f} s |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--lengths", nargs="+", default=["128", "512", "real"])
    parser.add_argument("--against", nargs="*", default=["sdpa", "compiled", "varlen"])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; try the script with --device cpu")
    peak = most_products(device, 8192 if device.type == "cuda" else 1024)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, seed {SEED}; bfloat16 products: {peak / 1e12:.1f} TFLOP/s")
    for length in given.lengths:
        compared(length, given, device, peak)


if __name__ == "__main__":
    main()
