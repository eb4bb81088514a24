"""What more work costs: tokens a second and peak memory as one thing grows and the rest stays.

    python benchmarks/growth.py [length batch size rows vocabulary] [--plots DIR] [--threads 2]

A BERT of random weights trains on random tokens, two classes, and is asked; each point is a process of its own. The
usual is 6 × 384, texts of 64 tokens, 512 rows of 2,000 different tokens in batches of 16. What grows:

    length      16 … 512 tokens of a text, as many rows as make 16,384 tokens
    batch       1 … 128 rows of a step
    size        2 × 128 to 12 × 768, layers and width
    rows        512 … 131,072 in the table
    vocabulary  100 … 100,000 different tokens in the data, of a table of 100,000

Memory is the most of the process in physical memory, less what it had when the model was made. Prints a table for each,
and writes a picture of each where --plots says.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measures import most_memory

from headwise.core.prepacked import prepack
from headwise.core.transformer import HeadedEncoder, initialise
from headwise.families.bert import classifier, stack
from headwise.reading.batches import Examples
from headwise.reading.text import Tokens
from headwise.tasks.text_classification import TextClassification
from headwise.training.inference import predicted
from headwise.training.loop import State, Step, training
from headwise.training.optimizers import optimizer
from headwise.training.recipe import Recipe
from headwise.training.vocabulary import vocabulary_in_use

TABLE = 100_000  # tokens that the model knows
STEPS = 12
WARM = 2
ASKED = 512  # rows at most
SEED = 0


@dataclass(frozen=True)
class Work:
    """What a model of how many layers and of what width does."""

    length: int = 64
    batch: int = 16
    layers: int = 6
    width: int = 384
    rows: int = 512
    vocabulary: int = 2000


@dataclass(frozen=True)
class Cost:
    """Tokens a second, and MiB."""

    training: float
    asking: float
    training_memory: float
    asking_memory: float


GROWING: dict[str, dict[str, Work]] = {
    "length": {str(n): Work(length=n, rows=16_384 // n) for n in (16, 32, 64, 128, 256, 512)},
    "batch": {str(n): Work(batch=n, rows=2048) for n in (1, 2, 4, 8, 16, 32, 64, 128)},
    "size": {
        f"{layers} × {width}": Work(layers=layers, width=width)
        for layers, width in ((2, 128), (4, 256), (6, 384), (12, 384), (12, 768))
    },
    "rows": {f"{n:,}": Work(rows=n) for n in (512, 2048, 8192, 32_768, 131_072)},
    "vocabulary": {f"{n:,}": Work(vocabulary=n) for n in (100, 1000, 10_000, 100_000)},
}


def made(work: Work) -> HeadedEncoder:
    """A model of random weights."""
    config = {
        "hidden_size": work.width,
        "intermediate_size": 4 * work.width,
        "num_attention_heads": max(2, work.width // 64),
        "num_hidden_layers": work.layers,
        "vocab_size": TABLE,
        "max_position_embeddings": 512,
    }
    model = HeadedEncoder(stack(config), classifier(config, 2))
    initialise(model, torch.Generator().manual_seed(SEED))
    return model


def rows_of(work: Work) -> Examples:
    """Random tokens and classes."""
    draw = np.random.default_rng(SEED)
    ids = draw.integers(0, work.vocabulary, work.rows * work.length, dtype=np.int32)
    lengths = np.full(work.rows, work.length)
    tokens = Tokens(ids, np.zeros(len(ids), np.int8), lengths, np.zeros(work.rows, np.int64), None)
    truth = draw.integers(0, 2, work.rows)
    return Examples(tokens, truth, truth)


def cost(work: Work, threads: int) -> Cost:
    """Of asking, then of training, which takes more memory."""
    torch.set_num_threads(threads)
    task, model, rows = TextClassification(("a", "b")), made(work), rows_of(work)
    recipe = Recipe.of(work.rows, work.width, batch_size=work.batch, eval_steps=10**9, epochs=10**4)
    before = most_memory()
    asked = Examples(rows.tokens.select(np.arange(min(ASKED, work.rows))))
    prepack(model)
    predicted(model, task, asked)
    began = time.perf_counter()
    predicted(model, task, asked)
    asking, asking_memory = len(asked.tokens.ids) / (time.perf_counter() - began), most_memory() - before
    model = made(work)
    with vocabulary_in_use(model, rows) as (rows,):
        state = State(model, optimizer(model, recipe))
        events = (one for one in training(state, task, rows, rows, recipe) if isinstance(one, Step))
        steps = [next(events) for _ in range(STEPS)][WARM:]
    rate = sum(one.tokens for one in steps) / sum(one.seconds for one in steps)
    return Cost(rate, asking, most_memory() - before, asking_memory)


def draw(what: str, found: dict[str, Cost], file: Path) -> None:
    """Rates on the left, memory on the right."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (rates, memory) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    each: list[tuple[object, str, str, Callable[[Cost], float]]] = [
        (rates, "training", "#0b6e4f", lambda one: one.training),
        (rates, "asking", "#c8553d", lambda one: one.asking),
        (memory, "training", "#0b6e4f", lambda one: one.training_memory),
        (memory, "asking", "#c8553d", lambda one: one.asking_memory),
    ]
    for axes, name, color, of in each:
        axes.plot(list(found), [of(one) for one in found.values()], "o-", label=name, color=color)
    for axes, unit in ((rates, "tokens a second"), (memory, "peak memory, MiB")):
        axes.set_xlabel(what)
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)
    rates.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("growing", nargs="*", default=list(GROWING), metavar="{" + ",".join(GROWING) + "}")
    parser.add_argument("--plots", type=Path, help="folder for pictures")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if unknown := set(given.growing) - set(GROWING):
        parser.error(f"nothing is called {', '.join(sorted(unknown))}; choose from {', '.join(GROWING)}")
    print(f"{given.threads} threads, {platform.machine()}, torch {torch.__version__}, seed {SEED}")
    for what in given.growing:
        print(
            f"\n| {what} | training, tokens/s | asking, tokens/s | training, MiB | asking, MiB |\n|---|---|---|---|---|"
        )
        found = {}
        for name, work in GROWING[what].items():
            with multiprocessing.get_context("spawn").Pool(1) as process:
                found[name] = one = process.apply(cost, (work, given.threads))
            print(f"| {name} | {one.training:,.0f} | {one.asking:,.0f} | {one.training_memory:,.0f} | "
                  f"{one.asking_memory:,.0f} |", flush=True)  # fmt: skip
        if given.plots is not None:
            given.plots.mkdir(parents=True, exist_ok=True)
            draw(what, found, given.plots / f"{what}.png")


if __name__ == "__main__":
    main()
