"""Hugging Face's Trainer as most set it up, and as it is fastest: its real tokens a second, its memory."""

from __future__ import annotations

import pickle
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from measures import WARM, most_memory
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging as chatter

PAD_TO = 128  # of most tutorials


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
    batch_size: int
    learning_rate: float
    weight_decay: float
    frozen_layers: int


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


def rates_of(peer: Peer, work: Work, steps: int) -> Iterator[float]:
    """Real tokens a second of the Trainer: each time it begins anew on the model of before, with other rows."""
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
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
    if work.frozen_layers:
        for part in (model.base_model.embeddings, *model.base_model.encoder.layer[: work.frozen_layers]):
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
                learning_rate=work.learning_rate,
                weight_decay=work.weight_decay,
                per_device_train_batch_size=work.batch_size,
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


def memory(peer: Peer, work: Work, steps: int, threads: int) -> float:
    """The most that this process has in physical memory while the Trainer trains some steps, in MiB."""
    torch.set_num_threads(threads)
    next(rates_of(peer, work, steps))
    return most_memory()


def main() -> None:
    """memory of what standard input holds, for a process that has imported nothing else."""
    print(memory(*pickle.load(sys.stdin.buffer)))
