"""Every hyperparameter of a training run, and defaults that make a first run a good run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from headwise.errors import InputError
from headwise.knobs import knob, refuse_misspelt, refuse_out_of_range

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["linear", "cosine", "constant"]
Precision = Literal["float32", "bfloat16"]

LEAST_STEPS = 1600  # small sets are stable when trained long rather than for 3 epochs (arXiv:2006.04884, 2006.05987)
MOST_EPOCHS = 20
FEW_SHOT_EPOCHS = 4.0  # a head that was fitted is good at once
LORA_RATE = 10  # adapters want a larger learning rate than whole weights (Hu et al. 2021, appendix D)


@dataclass(frozen=True)
class Recipe:
    """How to train. Names are those of Hugging Face's TrainingArguments where it has one.

    A step takes batch_size · gradient_accumulation_steps rows. Raises InputError for values out of range.
    """

    learning_rate: float = knob(5e-5, "else 1e-4 for small models, 3e-5 at BERT-base's width", 0, 10)
    epochs: float = knob(3.0, "else as many as make 1,600 steps, from 1 to 20", 0.001, 10_000)
    batch_size: int = knob(32, "rows in a batch; else 32, or 16 below 2,000 rows", 1)
    gradient_accumulation_steps: int = knob(1, "batches to a step (1)", 1)
    optimizer: Optimizer = knob("adamw", "adamw or sgd (adamw)")
    adam_beta1: float = knob(0.9, "of adamw (0.9)", 0, 0.999999)
    adam_beta2: float = knob(0.999, "of adamw (0.999)", 0, 0.999999)
    adam_epsilon: float = knob(1e-8, "of adamw (1e-8)", 0, 1)
    momentum: float = knob(0.9, "of sgd (0.9)", 0, 1)
    weight_decay: float = knob(0.01, "not on norms and biases (0.01)", 0, 10)
    layerwise_decay: float = knob(1.0, "each block learns this times as fast as the one above it (1)", 0, 1)
    lr_scheduler_type: Schedule = knob("linear", "linear, cosine or constant, after warm-up (linear)")
    warmup_ratio: float = knob(0.1, "share of the steps in which the learning rate rises (0.1)", 0, 1)
    max_grad_norm: float = knob(1.0, "longer gradients are shortened to this; 0: none is (1)", 0)
    dropout: float | None = knob(
        None, "everywhere; else as the model's config has it, but 0 in a run of one epoch", 0, 0.99
    )
    label_smoothing: float = knob(0.0, "share of certainty given to all labels alike (0)", 0, 0.99)
    class_weights: str | Mapping[str, float] = knob("none", "none, balanced, or label=weight,label=weight,… (none)")
    few_shot: bool = knob(
        False,
        "fit the head to means over positions, then also compare rows of a class with others: for few rows per class",
    )
    lora_rank: int = knob(0, "adapters of this rank learn in place of the encoder, often 4 to 64; 0: none do (0)", 0)
    frozen_layers: int = knob(0, "the embeddings and so many of the lowest blocks do not learn; 0: all do (0)", 0)
    max_length: int | None = knob(None, "tokens of a text at most; else what the model can take", 3)
    max_windows: int | None = knob(
        None,
        "of --max-length tokens that a longer text is read in, at most; 1: it is cut; else 16 where texts need it",
        1,
    )
    eval_steps: int | None = knob(None, "steps between evaluations; else ten a run, at least one an epoch", 1)
    metric: str | None = knob(
        None, "chooses the best weights; else the task's first: accuracy, f1, pearson, … (a wrong name lists all)"
    )
    precision: Precision = knob(
        "float32", "of matrix products, float32 or bfloat16; else bfloat16 where the processor is faster in it"
    )
    patience: int = knob(5, "evaluations without a better metric before stopping; 0: never stop early (5)", 0)
    seed: int = knob(42, "of splits, order, dropout and head (42)", 0, 2**32 - 1)

    def __post_init__(self) -> None:
        refuse_out_of_range(self)
        choices = {"optimizer": Optimizer, "lr_scheduler_type": Schedule, "precision": Precision}
        for name, words in choices.items():
            if getattr(self, name) not in get_args(words):
                raise InputError(f"{name} is {getattr(self, name)!r}, expected {' or '.join(get_args(words))}")

    @staticmethod
    def of(rows: int, d_model: int, **given: Any) -> Recipe:
        """The defaults for so many rows and a model so wide, with what the user gave in their place.

        Small models want a larger learning rate, adapters one LORA_RATE times as large; small sets smaller batches
        and at least LEAST_STEPS steps. A run that sees every row once has nothing to learn by heart, and goes
        without dropout. Matrix products are in bfloat16 where that is faster.
        """
        from headwise.core.kernels import bfloat16_pays

        refuse_misspelt(given, Recipe)
        given = {name: value for name, value in given.items() if value is not None}
        Recipe(**given)  # before anything is reckoned from values out of range
        batch_size = given.get("batch_size", 32 if rows >= 2000 or given.get("few_shot") else 16)
        steps = math.ceil(rows / (batch_size * given.get("gradient_accumulation_steps", 1)))
        usual = float(min(max(math.ceil(LEAST_STEPS / steps), 1), MOST_EPOCHS))
        epochs = given.get("epochs", FEW_SHOT_EPOCHS if given.get("few_shot") else usual)
        rate = 1e-4 if d_model < 512 else 5e-5 if d_model < 768 else 3e-5 if d_model < 1024 else 2e-5
        defaults = {
            "learning_rate": rate * LORA_RATE if given.get("lora_rank") else rate,
            "batch_size": batch_size,
            "epochs": epochs,
            "dropout": 0.0 if epochs <= 1 else None,
            "eval_steps": max(1, round(epochs * steps)) if given.get("few_shot") else None,  # too few rows to choose by
            "precision": "bfloat16" if bfloat16_pays() else "float32",
        }
        return Recipe(**(defaults | given))

    def steps_per_epoch(self, rows: int) -> int:
        """Optimizer steps to see every row once; the last may take fewer rows."""
        return math.ceil(rows / (self.batch_size * self.gradient_accumulation_steps))

    def steps(self, rows: int) -> int:
        """Optimizer steps of the whole run."""
        return max(1, round(self.epochs * self.steps_per_epoch(rows)))

    def evaluate_every(self, rows: int) -> int:
        """Steps between evaluations."""
        if self.eval_steps is not None:
            return self.eval_steps
        return max(1, min(self.steps_per_epoch(rows), math.ceil(self.steps(rows) / 10)))
