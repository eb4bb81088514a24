"""What a run leaves: the verdicts before and after, the report, the model card, the directory."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from headwise.core.prepacked import prepack
from headwise.errors import InputError, listing
from headwise.job import Job
from headwise.judging.report import Verdict, as_html
from headwise.model import Judged, Model, reported
from headwise.progress import Narrator
from headwise.reading.batches import Examples, Rows
from headwise.tasks.task import Array
from headwise.training.inference import features, predicted
from headwise.training.loop import State
from headwise.training.saving import whole

FROZEN_TOKENS = 400_000  # as much of the training rows the frozen baseline reads, for time's sake


def judged_before(job: Job, narrator: Narrator) -> tuple[Judged, ...]:
    """What fine-tuning has to beat: the task's baselines, and the model as it is now with a linear layer."""
    task, (train, part) = job.data.task, (job.data.train, job.data.judged)
    answers = task.baselines(train.texts, train.truth, part.texts, job.recipe.seed)
    if task.frozen is not None:
        name, answer = frozen(job, task.frozen)
        answers[name] = answer
    if not task.labels:  # a vector: no head has to learn first
        answers[f"{job.name} before fine-tuning"] = lambda: as_it_is(job)
    found = []
    for name, answer in answers.items():
        with narrator.wait(name):
            began = time.perf_counter()
            predicted = answer()
            seconds = time.perf_counter() - began
            scores, spans = task.scored(part.truth, predicted), task.intervals(part.truth, predicted)
            found.append((Verdict(name, scores, seconds, spans), predicted))
    return tuple(found)


def as_it_is(job: Job) -> Array:
    """The answers of the model before it was trained."""
    outputs, _ = predicted(job.checkpoint.model, job.data.task, job.judged, precision=job.recipe.precision)
    return job.data.task.decide(job.judged, outputs)


def frozen(job: Job, fit: Callable[[Array, Array, Array, int], Array]) -> tuple[str, Callable[[], Array]]:
    """The model as it is with a linear layer on top: what it is called, and how to get its answers."""
    rows = np.random.default_rng(job.recipe.seed).permutation(len(job.train))
    rows = rows[: max(len(job.data.task.labels), int((job.train.lengths[rows].cumsum() <= FROZEN_TOKENS).sum()))]
    name = f"{job.name} before fine-tuning (frozen features + {job.data.task.linear}"
    name += ")" if len(rows) == len(job.train) else f" on {len(rows):,} rows)"
    return name, lambda: fit(
        known_features(job, rows), job.train.truth[rows], row_features(job, job.judged), job.recipe.seed
    )


def row_features(job: Job, examples: Examples, rows: Rows | None = None) -> Array:
    """What the model as it is makes of these rows, or of all: the mean over a sequence, pooled as outputs are."""
    rows = np.arange(len(examples)) if rows is None else rows
    tokens = examples.tokens.select(examples.sequences(rows))
    found = torch.from_numpy(features(job.checkpoint.model, tokens, job.recipe.precision))
    counts = None if examples.counts is None else examples.counts[rows]
    return job.data.task.pooled(found, counts).numpy()


def known_features(job: Job, rows: Rows) -> Array:
    """The same of these training rows. Raises InputError where that is no number."""
    found = row_features(job, job.train, rows)
    if not np.isfinite(found).all():
        wrong = rows[~np.isfinite(found).all(1)]
        raise InputError(f"{job.places(wrong)}: {job.name} makes no finite numbers of these rows; fetch it again")
    return found


def finish(job: Job, state: State, before: tuple[Judged, ...], narrator: Narrator) -> Model:
    """The trained model, and the report on the rows it is judged by."""
    task, part = job.data.task.finished(state.model), job.data.judged
    prepack(state.model, first_only=state.model.first_only)  # it is judged as it will be asked, to the last bit
    with narrator.wait(f"judging on {part.name}"):
        held_out, _ = predicted(state.model, task, job.valid)
        outputs = held_out if job.judged is job.valid else predicted(state.model, task, job.judged)[0]
    task = task.tuned(job.valid, held_out)
    answers = task.decide(job.judged, outputs)
    scores, spans = task.scored(part.truth, answers), task.intervals(part.truth, answers)
    missed = task.never_answered(part.truth, answers)
    if missed and not task.collapsed(part.truth, answers):
        job = job.noting(never_answered(missed, job))
        narrator.say(job.notes[-1])
    after = Verdict(f"{job.name} after fine-tuning", scores, state.seconds, spans)
    steps = [{"step": step + 1, "loss": loss} for step, loss in enumerate(state.losses)]
    evaluations = [
        {"step": one["step"], "valid_loss": one["loss"]} | {f"valid_{k}": v for k, v in one["scores"].items()}
        for one in state.history
    ]
    report = reported(
        task,
        part,
        job.judged,
        outputs,
        (*before, (after, answers)),
        facts=tuple(facts(job, state)),
        notes=job.notes,
        metric=job.metric,
        history=tuple(steps + evaluations),
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
        "metrics": {name: after.scores.named(name) for name in task.metrics},
    }
    return Model(task, job.checkpoint, job.tokenizer, card, report)


def never_answered(labels: Sequence[str], job: Job) -> str:
    """A word about labels that no row gets though some have them."""
    weigh = "try --class-weights balanced, or " if job.recipe.class_weights == "none" else ""
    rows = f"rows of {job.data.judged.name}"
    return f"never answers {listing(labels)}, which {rows} have; {weigh}give more rows of that kind"


def facts(job: Job, state: State) -> list[tuple[str, str]]:
    """What a reader needs to know to believe the figures, or to get them again."""
    rows = {part.name: len(part) for part in (job.data.train, job.data.valid, job.data.judged)}
    tokens = job.train.lengths.mean() * len(job.train) * state.step / job.recipe.steps_per_epoch(len(job.train))
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


def write_run(place: Path, model: Model, card: str) -> None:
    """Model, metrics, report and model card, whole or not at all."""
    report = model.report
    assert report is not None
    with whole(place) as new:
        model.write(new)
        (new / "metrics.json").write_text(json.dumps(report.as_dict(), indent=2, ensure_ascii=False), encoding="utf-8")
        (new / "report.html").write_text(as_html(report), encoding="utf-8")
        (new / "README.md").write_text(card, encoding="utf-8")
