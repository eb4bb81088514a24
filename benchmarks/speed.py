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
import gc
import multiprocessing
import os
import platform
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from inference import draw, most_memory, most_products, multiplied
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging as chatter

from headwise.families.hub import locate
from headwise.job import Job, prepared
from headwise.progress import Narrator
from headwise.reading.records import from_columns
from headwise.reading.tables import read
from headwise.training.frozen import frozen
from headwise.training.loop import State, Step, training
from headwise.training.optimizers import optimizer
from headwise.training.recipe import Recipe
from headwise.training.vocabulary import vocabulary_in_use

PAD_TO = 128  # of most tutorials
EPOCHS = 3  # of the run that keeping what frozen layers make is for
WARM = 3  # steps before the clock starts: kernels are chosen, memory is taken


@dataclass(frozen=True)
class Peer:
    """One way to set up the Trainer."""

    precision: str = "highest"  # of float32 products, as torch has it; or bf16
    attention: str = "sdpa"
    compiled: bool = False
    grouped: bool = True
    padded: bool = False

    def __str__(self) -> str:
        words = [{"highest": "fp32", "high": "fp32 high", "medium": "fp32 medium"}.get(self.precision, self.precision)]
        return ", ".join([*words, self.attention, *["compiled"] * self.compiled, *["grouped"] * self.grouped])


@dataclass(frozen=True)
class Work:
    """What the Trainer needs to know of a job."""

    model: str
    texts: list[str]
    labels: list[int]
    classes: int
    max_length: int
    recipe: Recipe

    @staticmethod
    def of(job: Job) -> Work:
        train, classes = job.data.train, len(job.data.task.labels)
        rows = train.texts.first.to_pylist(), train.truth.tolist()
        return Work(str(locate(job.name)), *rows, classes, job.tokenizer.max_length, job.recipe)


class Clock(TrainerCallback):
    """Seconds and real tokens of the Trainer's steps after the first WARM.

    Its loader is a batch ahead of it, so what was collated last is not what a step is about.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.tokens, self.seconds, self.began = 0, 0.0, 0.0
        self.collated: deque[int] = deque()  # the tokens of batches that no step has taken

    def on_step_begin(self, args, state, control, **_):
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        taken = self.collated.popleft()
        if state.global_step > WARM:
            self.seconds += time.perf_counter() - self.began
            self.tokens += taken


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


def rates_of(peer: Peer, work: Work, steps: int) -> Iterator[float]:
    """The same of the Trainer: each time it begins anew on the model of before, with other rows."""
    tokenizer = AutoTokenizer.from_pretrained(work.model)
    cut = tokenizer(work.texts, truncation=True, max_length=PAD_TO if peer.padded else work.max_length)
    rows = [{name: cut[name][at] for name in cut} | {"labels": label} for at, label in enumerate(work.labels)]
    model = AutoModelForSequenceClassification.from_pretrained(
        work.model,
        num_labels=work.classes,
        attn_implementation=peer.attention,
        dtype=torch.float32,  # whatever the file has
        ignore_mismatched_sizes=True,
    )
    if work.recipe.frozen_layers:
        for part in (model.base_model.embeddings, *model.base_model.encoder.layer[: work.recipe.frozen_layers]):
            part.requires_grad_(False)
    clock = Clock()

    def collate(batch: list[dict]) -> dict[str, torch.Tensor]:
        padding = {"padding": "max_length", "max_length": PAD_TO} if peer.padded else {"padding": True}
        made = tokenizer.pad(batch, return_tensors="pt", **padding)
        clock.collated.append(int(made["attention_mask"].sum()))
        return made

    for seed in range(10**6):
        clock.begin()
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                max_steps=steps + WARM,
                learning_rate=work.recipe.learning_rate,
                weight_decay=work.recipe.weight_decay,
                per_device_train_batch_size=work.recipe.batch_size,
                optim="adamw_torch_fused",
                train_sampling_strategy="group_by_length" if peer.grouped else "random",
                bf16=peer.precision == "bf16",
                torch_compile=peer.compiled,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                seed=seed,
            )
            torch.set_float32_matmul_precision("highest" if peer.precision == "bf16" else peer.precision)
            trainer = Trainer(model, arguments, train_dataset=rows, data_collator=collate, callbacks=[clock])
            trainer.remove_callback(PrinterCallback)
            trainer.train()
            torch.set_float32_matmul_precision("highest")
        yield clock.tokens / clock.seconds


def fastest(work: Work, steps: int, grouped: bool, compiled: tuple[bool, ...]) -> Peer:
    """The best of all set-ups, after a try of each."""
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
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(locate("minilm")))
    BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


def settled(given: argparse.Namespace) -> Job:
    """What both sides train."""
    torch.set_num_threads(given.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    options = {
        "max_length": given.max_length,
        "batch_size": given.batch_size,
        "frozen_layers": given.frozen_layers,
        "eval_steps": 10**9,
        "epochs": 1000,
    }
    rows = rows_of(given.table, given.words, given.rows)
    return prepared(rows, None, None, given.model, options, Narrator(quiet=True))


def memory(given: argparse.Namespace, peer: Peer | None) -> float:
    """The most that a process has in physical memory which trains some steps, in MiB. None: with headwise."""
    job = settled(given)
    if peer is None:
        next(rates_of_ours(job, given.steps))
    else:
        work = Work.of(job)
        del job  # it holds our model
        gc.collect()
        next(rates_of(peer, work, given.steps))
    return most_memory()


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
    job = settled(given)
    work, lengths = Work.of(job), job.train.lengths
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
    work = 6 * multiplied(model.encoder.blocks, int(lengths.sum()), len(lengths), model.first_only) / lengths.sum()
    share = work * float(np.median([mine for mine, _ in rounds])) / max(products.values())
    print(f"products of 2048 rows, GFLOP/s: {', '.join(f'{name} {one / 1e9:,.0f}' for name, one in products.items())}")
    if not given.frozen_layers:
        print(f"headwise's linear layers, forward and backward: {share:.0%} of the better rate")
    if given.plot is not None:
        theirs_of = {f"{name}: {peers[name]}": [others[name] for _, others in rounds] for name in given.against}
        draw({"headwise": [mine for mine, _ in rounds]} | theirs_of, given.plot)
    used: dict[str | None, str] = dict.fromkeys((None, *given.against), "")
    for name in used if given.memory else ():
        with multiprocessing.get_context("spawn").Pool(1) as process:
            used[name] = f"{process.apply(memory, (given, None if name is None else peers[name])):,.0f} MiB"
    print("\n| | tokens/s | headwise is faster by (smallest to largest of the rounds) | peak memory |")
    print("|---|---|---|---|")
    middle = float(np.median([mine for mine, _ in rounds]))
    print(f"| headwise, {job.recipe.precision}, random order | {middle:,.0f} | | {used[None]} |")
    for name in given.against:
        ratios = sorted(mine / others[name] for mine, others in rounds)
        rate, middle = np.median([others[name] for _, others in rounds]), np.median(ratios)
        print(
            f"| {name}: {peers[name]} | {rate:,.0f} | {middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) "
            f"| {used[name]} |"
        )


if __name__ == "__main__":
    main()
