"""What a run leaves: the verdicts before and after, the report, the model card, the directory."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headwise.errors import InputError
from headwise.job import Job
from headwise.judging import baselines, classification
from headwise.judging.metrics import METRICS
from headwise.judging.report import Report, Verdict, as_html
from headwise.model import Model
from headwise.progress import Narrator
from headwise.reading.batches import Rows
from headwise.training.loop import State, features, predicted
from headwise.training.saving import whole

FROZEN_TOKENS = 400_000  # as much of the training rows the frozen baseline reads, for time's sake
Judged = tuple[Verdict, np.ndarray[Any, Any]]  # with what was predicted


def judged_before(job: Job, narrator: Narrator) -> tuple[Judged, ...]:
    """What fine-tuning has to beat: the majority class, TF-IDF, and the model as it is now with a linear layer."""
    truth, task = job.train.targets.astype(np.int64), job.data.task
    answers: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
        "majority class": lambda: baselines.majority(truth, len(job.judged)),
        "TF-IDF + logistic regression": lambda: baselines.tfidf(
            job.data.train.texts, truth, job.data.judged.texts, job.recipe.seed
        ),
    }
    rows = np.random.default_rng(job.recipe.seed).permutation(len(job.train))
    rows = rows[: max(len(task.labels), int((job.train.tokens.lengths[rows].cumsum() <= FROZEN_TOKENS).sum()))]
    name = f"{job.name} before fine-tuning (frozen features + logistic regression"
    name += ")" if len(rows) == len(job.train) else f" on {len(rows):,} rows)"
    answers[name] = lambda: baselines.frozen(
        known_features(job, rows),
        truth[rows],
        features(job.checkpoint.model, job.judged.tokens, job.recipe.precision),
        job.recipe.seed,
    )
    found = []
    for name, answer in answers.items():
        with narrator.wait(name):
            began = time.perf_counter()
            predicted = answer()
            scores = task.scored(job.judged.targets, predicted)
            found.append((Verdict(name, scores, time.perf_counter() - began), predicted))
    return tuple(found)


def known_features(job: Job, rows: Rows) -> np.ndarray[Any, Any]:
    """What the model as it is makes of these training rows. Raises InputError where that is no number."""
    found = features(job.checkpoint.model, job.train.tokens.select(rows), job.recipe.precision)
    if not np.isfinite(found).all():
        wrong = rows[~np.isfinite(found).all(1)]
        raise InputError(f"{job.places(wrong)}: {job.name} makes no finite numbers of these rows; fetch it again")
    return found


def finish(job: Job, state: State, before: tuple[Judged, ...], narrator: Narrator) -> Model:
    """The trained model, and the report on the rows it is judged by."""
    task, part = job.data.task, job.data.judged
    with narrator.wait(f"judging on {part.name}"):
        logits, _ = predicted(state.model, job.judged.tokens, task)
    probabilities = task.probabilities(logits)
    truth, answer = part.targets.astype(np.int64), task.decide(probabilities).astype(np.int64)
    scores = task.score(part.targets, probabilities)
    after = Verdict(f"{job.name} after fine-tuning", scores, state.seconds)
    judged = (*before, (after, answer))
    steps = [{"step": step + 1, "loss": loss} for step, loss in enumerate(state.losses)]
    evaluations = [
        {"step": one["step"], "valid_loss": one["loss"]} | {f"valid_{k}": v for k, v in one["scores"].items()}
        for one in state.history
    ]
    report = Report(
        title=f"{task.name}: {part.records.path}",
        facts=tuple(facts(job, state)),
        notes=job.notes,
        metrics=classification.metrics(truth, job.metric),
        metric=job.metric,
        verdicts=tuple(verdict for verdict, _ in judged),
        history=tuple(steps + evaluations),
        split=part.name,
        hint=classification.hint(truth),
        sections=classification.sections(task.labels, truth, probabilities, answer, part.texts, scores),
        breakdown=classification.breakdown(task.labels, truth, judged),
        numbers=classification.numbers(task.labels, truth, answer),
    )
    card = {
        "headwise": version("headwise"),
        "task": task.name,
        "columns": {role: getattr(job.data.columns, role) for role in ("text", "pair", "label")},
        "label_separator": job.data.asked.label_separator,
        "base_model": job.name,
        "recipe": asdict(job.recipe),
        "data": job.data.fingerprints(),
        "judged_on": part.name,
        "metrics": {name: after.scores.named(name) for name in METRICS},
    }
    return Model(replace(task, class_weights=None, label_smoothing=0.0), job.checkpoint, job.tokenizer, card, report)


def facts(job: Job, state: State) -> list[tuple[str, str]]:
    """What a reader needs to know to believe the figures, or to get them again."""
    rows = {"train": len(job.train), "validation": len(job.valid), job.data.judged.name: len(job.judged)}
    tokens = job.train.tokens.lengths.mean() * len(job.train) * state.step / job.recipe.steps_per_epoch(len(job.train))
    return [
        ("model", job.name),
        ("rows", ", ".join(f"{name} {count:,}" for name, count in rows.items())),
        ("best weights", f"step {state.best_step} of {state.step}"),
        ("seconds in training", f"{state.seconds:,.0f} ({tokens / state.seconds:,.0f} tokens/s, evaluations included)"),
        *(
            (name, f"{value:g}" if isinstance(value, float) else str(value))
            for name, value in asdict(job.recipe).items()
        ),
        ("machine", f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}"),
        ("versions", f"headwise {version('headwise')}, torch {torch.__version__}"),
    ]


def write_run(place: Path, model: Model) -> None:
    """Model, metrics, report and model card, whole or not at all."""
    report = model.report
    assert report is not None
    with whole(place) as new:
        model.write(new)
        (new / "metrics.json").write_text(json.dumps(report.as_dict(), indent=2, ensure_ascii=False), encoding="utf-8")
        (new / "report.html").write_text(as_html(report), encoding="utf-8")
        (new / "README.md").write_text(model_card(model, report), encoding="utf-8")


def model_card(model: Model, report: Report) -> str:
    """README.md of the model directory, as the Hugging Face hub lays it out."""
    lines = [["", *report.metrics.values()], ["---"] * (1 + len(report.metrics))]
    lines += [[one.name, *(f"{one.scores.named(name):.4f}" for name in report.metrics)] for one in report.verdicts]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    told = "\n".join(f"- {name}: {value}" for name, value in report.facts)
    return f"""---
library_name: transformers
pipeline_tag: {model.task.name}
base_model: {model.card["base_model"]}
tags: [headwise]
---

# {report.title}

On {report.verdicts[-1].scores.rows:,} {report.split} rows:

{table}

{told}

`headwise predict . "a text"` asks it; transformers opens it with AutoModelForSequenceClassification.
"""
