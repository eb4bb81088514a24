"""The main job: a table of labelled text becomes a fine-tuned Transformer with a report."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headwise.errors import InputError
from headwise.families.checkpoint import Checkpoint, labels_of, read_classifier, read_config, specs
from headwise.families.hub import STARTER, locate
from headwise.judging import baselines
from headwise.judging.metrics import METRICS
from headwise.judging.report import Report, Verdict, as_html
from headwise.model import Model
from headwise.progress import Narrator
from headwise.reading.batches import Examples, Rows
from headwise.reading.text import TextTokenizer, Tokens
from headwise.tasks.text_classification import class_weights
from headwise.training.data import Asked, Data, Source, read_data
from headwise.training.loop import Evaluation, NotFinite, State, Step, features, predicted, training
from headwise.training.optimizers import optimizer
from headwise.training.recipe import Recipe
from headwise.training.saving import CARD, make_folder, newest_checkpoint, restore, save_checkpoint, whole
from headwise.training.tracking import TRACKERS, trackers

CHECKPOINTS = "checkpoints"  # in a run's directory, until it ends
SAVE_SECONDS = 600  # a checkpoint at every evaluation, and at least this often
FROZEN_TOKENS = 400_000  # as much of the training rows the frozen baseline reads, for time's sake


@dataclass(frozen=True, eq=False)
class Job:
    """All that is settled before the first step."""

    name: str  # of the model it starts from
    data: Data
    checkpoint: Checkpoint
    tokenizer: TextTokenizer
    train: Examples
    valid: Examples
    judged: Examples
    recipe: Recipe
    notes: tuple[str, ...]

    @property
    def metric(self) -> str:
        """What chooses the best weights."""
        return self.recipe.metric or self.data.task.metric

    def made_for(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        return {"model": self.name, "recipe": asdict(self.recipe), "data": self.data.fingerprints()}


def train(
    train: Source,
    valid: Source | None = None,
    test: Source | None = None,
    out: str | Path | None = None,
    model: str = STARTER,
    *,
    resume: bool = False,
    overwrite: bool = False,
    with_baselines: bool = True,
    report_to: Sequence[str] = (),
    quiet: bool = False,
    **options: Any,
) -> Model:
    """Fine-tune a model on a table, judge it, and leave model, metrics and report in the directory out.

    train, valid, test: files (csv, tsv, jsonl, parquet); parts that are not given are split off train.
    out: where to write; None keeps everything in memory, without checkpoints.
    model: a directory, a model of the Hugging Face hub, or 'minilm', which needs no download.
    resume: go on from the newest checkpoint in out. overwrite: replace a run that is there.
    report_to: 'tensorboard', 'wandb'.
    options: fields of Recipe (learning_rate=3e-5, epochs=3, …) and of Asked (text_column='review', …).

    Raises InputError for whatever is wrong with what was given, before anything is written.
    """
    place = None if out is None else Path(out)
    refuse_occupied(place, resume, overwrite)
    narrator = Narrator(quiet)
    job = prepared(train, valid, test, model, options, narrator)
    if place is not None and overwrite and not resume:
        shutil.rmtree(place / CHECKPOINTS, ignore_errors=True)
    with ExitStack() as stack:
        listeners, closers = trackers(report_to, place or Path(), asdict(job.recipe))
        for close in closers:
            stack.callback(close)
        before = judged_before(job, narrator) if with_baselines else ()
        state = State(job.checkpoint.model, optimizer(job.checkpoint.model, job.recipe))
        bar = narrator.bar(job.recipe.steps(len(job.train)), job.metric)
        stack.callback(bar.close)
        seconds = run(job, state, place, resume, [bar, *listeners], narrator, stack)
    finished = finish(job, state, before, seconds, narrator)
    if place is not None:
        write_run(place, finished)
    return finished


def refuse_occupied(place: Path | None, resume: bool, overwrite: bool) -> None:
    """Raise InputError where a directory holds what the user did not say to go on from or to replace."""
    if place is None or not place.exists():
        return
    if not place.is_dir():
        raise InputError(f"{place}: is a file, expected a directory to write the run to; choose another --out")
    begun = (place / CHECKPOINTS).is_dir()  # with a CARD too: a run that is to replace a finished one
    finished = (place / CARD).exists() and not begun
    if finished and resume:
        raise InputError(f"{place}: this run is finished, there is nothing to resume; --overwrite replaces it")
    if finished and not overwrite:
        raise InputError(f"{place}: holds a finished run; choose another --out, or replace it with --overwrite")
    if begun and not (resume or overwrite):
        raise InputError(f"{place}: holds an unfinished run; go on with --resume, or begin anew with --overwrite")
    if not finished and not begun and any(file.name not in TRACKERS for file in place.iterdir()):
        raise InputError(f"{place}: holds something that is not a run; choose another --out")


def prepared(
    train: Source, valid: Source | None, test: Source | None, name: str, options: dict[str, Any], narrator: Narrator
) -> Job:
    """Read everything and settle everything, telling what was guessed."""
    asked = Asked(**{field.name: options.pop(field.name) for field in fields(Asked) if field.name in options})
    seed: int = options.setdefault("seed", Recipe.seed)
    Recipe.of(1, 1, **options)  # refuses a wrong option before anything is read
    directory = locate(name)
    known = labels_of(read_config(directory))
    data = read_data(train, valid, test, asked, seed, known)
    narrator.say(*data.notes)
    labels = data.task.labels
    recipe = Recipe.of(len(data.train.targets), specs(directory)[0].d_model, **options)
    if recipe.metric is not None and recipe.metric not in METRICS:
        raise InputError(f"metric {recipe.metric!r}: expected {', '.join(METRICS)}")
    checkpoint = read_classifier(directory, len(labels), redraw=labels != known, dropout=recipe.dropout, seed=seed)
    weights = class_weights(recipe.class_weights, data.task.labels, data.train.targets)
    task = replace(data.task, class_weights=weights, label_smoothing=recipe.label_smoothing)
    most = min(recipe.max_length or checkpoint.max_length, checkpoint.max_length)
    tokenizer = TextTokenizer.read(directory, most)
    with narrator.wait("reading the texts"):
        examples = {part.name: part.examples(tokenizer) for part in (data.train, data.valid, data.judged)}
    cuts = [cut(name, one.tokens, most) for name, one in examples.items()]
    notes = [*checkpoint.notes, *cuts, *unknown(examples["train"].tokens, name)]
    settled = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown(recipe)]
    narrator.say(*notes, f"recipe: {', '.join(settled)}")
    return Job(
        name,
        replace(data, task=task),
        checkpoint,
        tokenizer,
        examples["train"],
        examples["validation"],
        examples[data.judged.name],
        recipe,
        (*data.notes, *notes),
    )


def shown(recipe: Recipe) -> list[tuple[str, Any]]:
    """The hyperparameters people look at first."""
    names = ("learning_rate", "epochs", "batch_size", "weight_decay", "lr_scheduler_type", "warmup_ratio", "seed")
    return [(name, getattr(recipe, name)) for name in names]


def cut(name: str, tokens: Tokens, most: int) -> str:
    """How long the texts of a split are, and what had to be cut."""
    rows, lost = int((tokens.cut > 0).sum()), int(tokens.cut.sum())
    size = f"{name}: {len(tokens):,} rows, {len(tokens.ids):,} tokens, {tokens.lengths.mean():.0f} a row"
    if not rows:
        return f"{size}, the longest {tokens.lengths.max()} of {most} possible, nothing cut"
    share = lost / (lost + len(tokens.ids))
    return f"{size}; cut at {most}: {rows:,} rows ({rows / len(tokens):.1%}) lose {lost:,} tokens ({share:.1%} of all)"


def unknown(tokens: Tokens, name: str) -> list[str]:
    """A warning where a model cannot read much of the text."""
    share = tokens.unknown / len(tokens.ids)
    if share < 0.02:
        return []
    return [f"{share:.0%} of the tokens are unknown to {name}: it was not made for this language; try another --model"]


def judged_before(job: Job, narrator: Narrator) -> tuple[Verdict, ...]:
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
        known_features(job, rows), truth[rows], features(job.checkpoint.model, job.judged.tokens), job.recipe.seed
    )
    found = []
    for name, answer in answers.items():
        with narrator.wait(name):
            began = time.perf_counter()
            predicted = answer()
            scores = task.scored(job.judged.targets, predicted)
            found.append(Verdict(name, scores, time.perf_counter() - began, predicted))
    return tuple(found)


def known_features(job: Job, rows: Rows) -> np.ndarray[Any, Any]:
    """What the model as it is makes of these training rows. Raises InputError where that is no number."""
    found = features(job.checkpoint.model, job.train.tokens.select(rows))
    if not np.isfinite(found).all():
        wrong = rows[~np.isfinite(found).all(1)]
        raise InputError(f"{places(job, wrong)}: {job.name} makes no finite numbers of these rows; fetch it again")
    return found


def run(
    job: Job,
    state: State,
    place: Path | None,
    resume: bool,
    listeners: list[Callable[[Step | Evaluation], None]],
    narrator: Narrator,
    stack: ExitStack,
) -> float:
    """Train to the end, with checkpoints below place; seconds. Ctrl-C saves one first. Raises InputError on NaN."""
    checkpoints = None if place is None else place / CHECKPOINTS
    if checkpoints is not None:
        make_folder(checkpoints)
    if resume and checkpoints is not None:
        go_on(job, state, checkpoints, narrator)
    pressed = stack.enter_context(interrupts())
    began = saved = time.perf_counter()
    try:
        for event in training(state, job.data.task, job.train, job.valid, job.recipe):
            for listen in listeners:
                listen(event)
            late = time.perf_counter() - saved > SAVE_SECONDS
            if checkpoints is not None and (isinstance(event, Evaluation) or late or pressed.is_set()):
                save_checkpoint(checkpoints, state, job.made_for())
                saved = time.perf_counter()
            if pressed.is_set():
                saved_too = "" if checkpoints is None else "; the same command with --resume goes on"
                narrator.say(f"stopped after step {state.step}{saved_too}")
                raise KeyboardInterrupt
    except NotFinite as error:
        raise InputError(
            f"{places(job, error.rows)}: the loss is not finite at step {error.step}; look at these rows, "
            f"or lower --learning-rate (now {job.recipe.learning_rate:g})"
        ) from None
    return time.perf_counter() - began


def places(job: Job, rows: Rows) -> str:
    """The file and lines of the first few training rows of these."""
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return ", ".join(job.data.train.records.where(int(row)) for row in rows[:5]) + more


def go_on(job: Job, state: State, checkpoints: Path, narrator: Narrator) -> None:
    """Put the state back to the newest good checkpoint. Raises InputError where it belongs to another job."""
    found = newest_checkpoint(checkpoints)
    if found is None:
        narrator.say("no checkpoint to go on from, so from the beginning")
        return
    newest, manifest = found
    mine = json.loads(json.dumps(job.made_for()))
    for name, value in mine.items():
        if manifest["made_for"][name] != value:
            raise InputError(
                f"{newest}: was made with another {name}; go on with the same command, or begin anew with --overwrite"
            )
    restore(state, newest, manifest)
    narrator.say(f"going on from step {state.step}")


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that a step is never left half done; a second Ctrl-C stops at once."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    usual = signal.getsignal(signal.SIGINT)

    def press(*_: Any) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, usual)


def finish(job: Job, state: State, before: tuple[Verdict, ...], seconds: float, narrator: Narrator) -> Model:
    """The model with its best weights, and the report on the rows it is judged by."""
    state.model.load_state_dict(state.best)
    task, part = job.data.task, job.data.judged
    with narrator.wait(f"judging on {part.name}"):
        logits, _ = predicted(state.model, job.judged.tokens, task)
    probabilities = task.probabilities(logits)
    after = Verdict(
        f"{job.name} after fine-tuning",
        task.score(part.targets, probabilities),
        seconds,
        task.decide(probabilities).astype(np.int64),
    )
    steps = [{"step": step + 1, "loss": loss} for step, loss in enumerate(state.losses)]
    evaluations = [
        {"step": one["step"], "valid_loss": one["loss"]} | {f"valid_{k}": v for k, v in one["scores"].items()}
        for one in state.history
    ]
    report = Report(
        title=f"{task.name}: {part.records.path}",
        facts=tuple((name, value) for name, value in facts(job, state, seconds)),
        notes=job.notes,
        labels=task.labels,
        verdicts=(*before, after),
        truth=part.targets.astype(np.int64),
        probabilities=probabilities,
        texts=part.texts,
        history=tuple(steps + evaluations),
        split=part.name,
        metric=job.metric,
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


def facts(job: Job, state: State, seconds: float) -> list[tuple[str, str]]:
    """What a reader needs to know to believe the figures, or to get them again."""
    rows = {"train": len(job.train), "validation": len(job.valid), job.data.judged.name: len(job.judged)}
    speed = job.train.tokens.lengths.mean() * len(job.train) * state.step / job.recipe.steps_per_epoch(len(job.train))
    return [
        ("model", job.name),
        ("rows", ", ".join(f"{name} {count:,}" for name, count in rows.items())),
        ("best weights", f"step {state.best_step} of {state.step}"),
        ("seconds in training", f"{seconds:,.0f} ({speed / seconds:,.0f} tokens/s)"),
        *(
            (name, f"{value:g}" if isinstance(value, float) else str(value))
            for name, value in asdict(job.recipe).items()
        ),
        ("machine", f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}"),
        ("versions", f"headwise {version('headwise')}, torch {torch.__version__}"),
    ]


def write_run(place: Path, model: Model) -> None:
    """Model, metrics, report and model card, whole or not at all; then the checkpoints go."""
    report = model.report
    assert report is not None
    with whole(place) as new:
        model.write(new)
        (new / "metrics.json").write_text(json.dumps(report.as_dict(), indent=2, ensure_ascii=False), encoding="utf-8")
        (new / "report.html").write_text(as_html(report), encoding="utf-8")
        (new / "README.md").write_text(model_card(model, report), encoding="utf-8")
    shutil.rmtree(place / CHECKPOINTS, ignore_errors=True)


def model_card(model: Model, report: Report) -> str:
    """README.md of the model directory, as the Hugging Face hub lays it out."""
    rows = "\n".join(
        f"| {one.name} | {one.scores.accuracy:.4f} | {one.scores.macro_f1:.4f} | {one.scores.weighted_f1:.4f} |"
        for one in report.verdicts
    )
    told = "\n".join(f"- {name}: {value}" for name, value in report.facts)
    return f"""---
library_name: transformers
pipeline_tag: {model.task.name}
base_model: {model.card["base_model"]}
tags: [headwise]
---

# {report.title}

On {len(report.truth):,} {report.split} rows:

| | accuracy | macro F1 | weighted F1 |
|---|---|---|---|
{rows}

{told}

`headwise predict . "a text"` asks it; transformers opens it with AutoModelForSequenceClassification.
"""
