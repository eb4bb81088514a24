"""Hugging Face's Trainer with headwise's recipe: same model, rows, steps, evaluations, and choice of the best weights.

    python benchmarks/trainer.py RUN TRAIN VALID [TEST ...]

RUN is a directory that `headwise train TRAIN --valid VALID` has written; its recipe is read from headwise.json and
its validation rows choose the best weights here too. Prints the accuracy of both on every file, and seconds.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import headwise
from headwise.families.hub import locate
from headwise.reading.tables import read
from headwise.training.recipe import Recipe

UNTOLD = ("optimizer", "layerwise_decay", "class_weights", "few_shot", "lora_rank", "frozen_layers", "metric")


class Rows(torch.utils.data.Dataset):
    """A table's texts and labels, tokenized."""

    def __init__(self, path: str, columns: dict[str, str], labels: list[str], tokenizer, max_length: int | None):
        table = read(path).table
        texts = table[columns["text"]].to_pylist()
        self.tokens = tokenizer(texts, truncation=True, max_length=max_length)
        self.labels = [labels.index(label) for label in table[columns["label"]].to_pylist()]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict:
        return {name: values[row] for name, values in self.tokens.items()} | {"labels": self.labels[row]}


def accuracy(prediction) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


class Quiet(TrainerCallback):
    def on_evaluate(self, args, state, control, metrics=None, **_):
        print(f"  step {state.global_step}: accuracy {metrics['eval_accuracy']:.4f}", flush=True)


def trainer(card: dict, labels: list[str], train: str, valid: str, work: str) -> tuple[Trainer, dict]:
    """The Trainer of the same recipe, as most people would set it up: dynamic padding, batches by length.

    Raises SystemExit for a recipe with something that it is not told of here.
    """
    recipe = Recipe(**card["recipe"])
    odd = [one.name for one in fields(Recipe) if one.name in UNTOLD and getattr(recipe, one.name) != one.default]
    if odd:
        raise SystemExit(f"the Trainer is not told of {', '.join(odd)}; compare a run without")
    name = str(locate(card["base_model"]))
    tokenizer = AutoTokenizer.from_pretrained(name)
    config = AutoConfig.from_pretrained(name, num_labels=len(labels))
    if recipe.dropout is not None:
        config.update({key: recipe.dropout for key in config.to_dict() if key.endswith(("dropout", "dropout_prob"))})
    model = AutoModelForSequenceClassification.from_pretrained(name, config=config)
    shape = (card["columns"], labels, tokenizer, min(recipe.max_length or 512, 512))
    rows = Rows(train, *shape)
    every = recipe.evaluate_every(len(rows))
    arguments = TrainingArguments(
        output_dir=work,
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=64,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type=recipe.lr_scheduler_type,
        warmup_steps=round(recipe.warmup_ratio * recipe.steps(len(rows))),
        max_grad_norm=recipe.max_grad_norm,
        adam_beta1=recipe.adam_beta1,
        adam_beta2=recipe.adam_beta2,
        adam_epsilon=recipe.adam_epsilon,
        optim="adamw_torch_fused",
        bf16=recipe.precision == "bfloat16",
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        label_smoothing_factor=recipe.label_smoothing,
        train_sampling_strategy="group_by_length",
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        seed=recipe.seed,
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )
    made = Trainer(
        model,
        arguments,
        train_dataset=rows,
        eval_dataset=Rows(valid, *shape),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
        callbacks=[Quiet()],
    )
    return made, {"shape": shape, "tokens": sum(map(len, rows.tokens["input_ids"]))}


def main() -> None:
    run, train, valid, *tests = sys.argv[1:]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    card = json.loads((Path(run) / "headwise.json").read_text(encoding="utf-8"))
    ours = headwise.load(run)
    with tempfile.TemporaryDirectory() as work:
        theirs, facts = trainer(card, list(ours.labels), train, valid, work)
        began = time.perf_counter()
        steps = theirs.train().global_step
        seconds = time.perf_counter() - began
        print(f"Trainer: {steps} steps, {seconds:.0f} s")
        for path in (valid, *tests):
            logits = theirs.predict(Rows(path, *facts["shape"]))
            share = float(np.mean(logits.predictions.argmax(-1) == logits.label_ids))
            print(f"{path}: headwise {ours.evaluate(path).accuracy:.4f}   Trainer {share:.4f}")


if __name__ == "__main__":
    main()
