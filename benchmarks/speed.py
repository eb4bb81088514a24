"""Fine-tuning speed beside Hugging Face's Trainer: real tokens a second, in turn, on the same model, rows and batches.

    python benchmarks/speed.py TABLE [--model minilm] [--against default best tutorial] [--words 128] [--rounds 5]
                               [--frozen-layers 4]

TABLE has columns text and label. Each round trains the same number of steps with headwise and then with each peer, in
one process and with the same threads; what a step of either takes is counted from the batch to the update, tokenizing
is not. headwise reads the rows in random order. Peers:

    default   fp32, sdpa, fused AdamW, dynamic padding, batches of rows of like length
    best      the fastest here of {fp32, fp32 with matmul precision medium, bf16} × {sdpa, eager} × {compiled or not},
              found by a try of each before the rounds; --random has it read rows in random order, too
    tutorial  fp32, every text padded to 128 tokens

--model bert-base is one of 12 × 768 with random weights. --words cuts texts into ones of so many words, all alike, to
measure without ragged lengths. With --frozen-layers the embeddings and so many of the lowest blocks rest on both sides;
the time in which headwise computes what they make of the rows, once, counts in equal parts in the steps of EPOCHS
epochs. Prints a row for each peer: the median over the rounds of headwise's rate divided by the peer's in the same
round, and the smallest and largest; with --memory also the most physical memory of a process that trains with headwise
alone, or with one peer alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from measures import WARM, draw, most_memory, most_products, multiplied

from headwise.families.hub import locate
from headwise.job import Job, prepared
from headwise.progress import Narrator
from headwise.reading.records import from_columns
from headwise.reading.tables import read
from headwise.training.frozen import frozen
from headwise.training.loop import State, Step, training
from headwise.training.optimizers import optimizer
from headwise.training.vocabulary import vocabulary_in_use

if TYPE_CHECKING:  # peers import transformers, of which a process that measures our memory must know nothing
    from peers import Peer, Work

EPOCHS = 3  # of the run that keeping what frozen layers make is for


def rates_of_ours(job: Job, steps: int) -> Iterator[float]:
    """Real tokens a second, over so many steps at a time."""
    model, began = job.checkpoint.model, time.perf_counter()
    with ExitStack() as stack:
        rows, valid = stack.enter_context(vocabulary_in_use(model, job.train, job.valid))
        rows, valid = stack.enter_context(frozen(model, job.recipe, rows, valid))
        before = (time.perf_counter() - began) / (EPOCHS * job.recipe.steps_per_epoch(len(rows)))  # of a step
        state = State(model, optimizer(model, job.recipe))
        events = (one for one in training(state, job.data.task, rows, valid, job.recipe) if isinstance(one, Step))
        while True:
            done = [next(events) for _ in range(steps + WARM)][WARM:]
            yield sum(one.tokens for one in done) / sum(one.seconds + before for one in done)


def fastest(work: Work, steps: int, grouped: bool, compiled: tuple[bool, ...]) -> Peer:
    """The best of all set-ups, after a try of each."""
    from peers import Peer, rates_of

    found = {}
    for one in product(("highest", "medium", "bf16"), ("sdpa", "eager"), compiled):
        peer = Peer(*one, grouped=grouped)
        rates = rates_of(peer, work, steps)
        next(rates)  # compiles
        found[peer] = next(rates)
        print(f"  {peer}: {found[peer]:,.0f} tokens/s", flush=True)
    return max(found, key=found.__getitem__)


def rows_of(table: Path, words: int | None, most: int) -> object:
    """The first rows, or texts of so many words each made of them."""
    columns = read(table).table
    texts, labels = columns["text"].to_pylist()[:most], columns["label"].to_pylist()[:most]
    if words is not None:
        every = " ".join(texts).split()
        texts = [" ".join(every[at : at + words]) for at in range(0, len(every) - words, words)]
        labels = [labels[at % len(labels)] for at in range(len(texts))]
    return from_columns({"text": texts, "label": labels})


def bert_base(place: Path) -> str:
    """The directory of a BERT as large as the base one, of random weights, with the starter's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(locate("minilm")))
    BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


def settled(given: argparse.Namespace) -> Job:
    """What both sides train."""
    torch.set_num_threads(given.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    options = {
        "max_length": given.max_length,
        "batch_size": given.batch_size,
        "frozen_layers": given.frozen_layers,
        "eval_steps": 10**9,
        "epochs": 1000,
    }
    rows = rows_of(given.table, given.words, given.rows)
    return prepared(rows, None, None, given.model, options, Narrator(quiet=True))


def work_of(job: Job) -> Work:
    """The same model, rows and recipe, for peers."""
    from peers import Work

    train = job.data.train
    rows = train.texts.first.to_pylist(), train.truth.tolist()
    recipe = job.recipe
    return Work(
        str(locate(job.name).resolve()),
        *rows,
        len(job.data.task.labels),
        job.tokenizer.max_length,
        recipe.batch_size,
        recipe.learning_rate,
        recipe.weight_decay,
        recipe.frozen_layers,
    )


def memory(given: argparse.Namespace) -> float:
    """The most that this process has in physical memory while headwise trains some steps, in MiB."""
    rates = rates_of_ours(settled(given), given.steps)  # one that nobody holds would put the table back at once
    next(rates)
    return most_memory()


def memory_of(peer: Peer, work: Work, steps: int, threads: int) -> float:
    """The same of a peer, in a process that knows nothing of headwise."""
    command = [sys.executable, "-c", "import peers; peers.main()"]
    told = pickle.dumps((peer, work, steps, threads))
    done = subprocess.run(command, input=told, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parent)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--model", default="minilm")
    parser.add_argument(
        "--against", nargs="+", choices=["default", "best", "tutorial"], default=["default", "best", "tutorial"]
    )
    parser.add_argument("--words", type=int, help="texts of so many words each")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--frozen-layers", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--random", action="store_true", help="the best peer does not batch rows of like length")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of each")
    parser.add_argument("--plot", type=Path, help="picture to write")
    parser.add_argument("--no-compile", action="store_true", help="leave out the compiled set-ups")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if given.model == "bert-base":
            given.model = bert_base(Path(place))
        compare(given)


def compare(given: argparse.Namespace) -> None:
    """All rounds, and the table."""
    from peers import Peer, rates_of

    job = settled(given)
    work, lengths = work_of(job), job.train.lengths
    print(f"{len(lengths):,} rows of {lengths.mean():.0f} tokens ({lengths.min()} to {lengths.max()})")
    print(f"{given.model}, batches of {given.batch_size}, {given.rounds} rounds of {given.steps} steps")
    print(f"{given.threads} threads, {platform.machine()}, torch {torch.__version__}")
    peers = {"default": Peer(), "tutorial": Peer(grouped=False, padded=True)}
    if "best" in given.against:
        print("set-ups of the best:")
        peers["best"] = fastest(work, given.steps, not given.random, (False,) if given.no_compile else (False, True))
    ours = rates_of_ours(job, given.steps)
    theirs = {name: rates_of(peers[name], work, given.steps) for name in given.against}
    for rates in theirs.values():
        next(rates)  # compiles
    rounds = [(next(ours), {name: next(rates) for name, rates in theirs.items()}) for _ in range(given.rounds)]
    model, products = job.checkpoint.model, most_products()
    each = 6 * multiplied(model.encoder.blocks, int(lengths.sum()), len(lengths), model.first_only) / lengths.sum()
    share = each * float(np.median([mine for mine, _ in rounds])) / max(products.values())
    print(f"products of 2048 rows, GFLOP/s: {', '.join(f'{name} {one / 1e9:,.0f}' for name, one in products.items())}")
    if not given.frozen_layers:
        print(f"headwise's linear layers, forward and backward: {share:.0%} of the better rate")
    if given.plot is not None:
        theirs_of = {f"{name}: {peers[name]}": [others[name] for _, others in rounds] for name in given.against}
        draw({"headwise": [mine for mine, _ in rounds]} | theirs_of, given.plot)
    used = dict.fromkeys(("headwise", *given.against), "")
    if given.memory:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            used["headwise"] = f"{process.apply(memory, (given,)):,.0f} MiB"
        for name in given.against:
            used[name] = f"{memory_of(peers[name], work, given.steps, given.threads):,.0f} MiB"
    print("\n| | tokens/s | headwise is faster by (smallest to largest of the rounds) | peak memory |")
    print("|---|---|---|---|")
    middle = float(np.median([mine for mine, _ in rounds]))
    print(f"| headwise, {job.recipe.precision}, random order | {middle:,.0f} | | {used['headwise']} |")
    for name in given.against:
        ratios = sorted(mine / others[name] for mine, others in rounds)
        rate, middle = np.median([others[name] for _, others in rounds]), np.median(ratios)
        print(
            f"| {name}: {peers[name]} | {rate:,.0f} | {middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
            f"| {used[name]} |"
        )


if __name__ == "__main__":
    main()
