"""The main job: a table of labelled text becomes a fine-tuned Transformer with a report."""

from __future__ import annotations

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from inspect import signature
from itertools import chain
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from headwise.audit import of_data
from headwise.checking.findings import as_findings
from headwise.errors import InputError
from headwise.families.hub import STARTER
from headwise.job import Job, prepared
from headwise.judging.sections import Findings
from headwise.judging.spread import SeedRun, with_spread
from headwise.knobs import refuse_misspelt
from headwise.model import Judged, Model
from headwise.model_card import model_card
from headwise.progress import Narrator
from headwise.results import finish, judged_before, write_run
from headwise.tasks.text_classification import TextClassification
from headwise.training.asked import Asked
from headwise.training.data import Source
from headwise.training.frozen import frozen
from headwise.training.loop import Evaluation, NotFinite, State, Step, training
from headwise.training.lora import adapted
from headwise.training.optimizers import optimizer
from headwise.training.recipe import Precision, Recipe
from headwise.training.saving import (
    CARD,
    CHECKPOINTS,
    Unwritable,
    make_folder,
    newest_checkpoint,
    restore,
    save_checkpoint,
)
from headwise.training.tracking import TRACKERS, Listener, refuse_unknown, trackers
from headwise.training.vocabulary import vocabulary_in_use

GOES_ON = "; the same command with --resume goes on"
RESTARTS, APART = 2, 1000  # seeds of runs tried again, apart from those of --seeds
FEW_STEPS = 50  # fewer may well have learnt nothing yet
SAVE_SECONDS = 600  # a checkpoint at every evaluation, and at least this often


@torch.inference_mode(False)
@torch.enable_grad()
def train(
    train: Source,
    valid: Source | None = None,
    test: Source | None = None,
    out: str | Path | None = None,
    model: str | Path = STARTER,
    *,
    seeds: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    with_baselines: bool = True,
    report_to: Sequence[str] = (),
    quiet: bool = False,
    **options: Any,
) -> Model:
    """Fine-tune a model on a table, judge it, and leave model, metrics and report in the directory out.

    train, valid, test: files (csv, tsv, jsonl, json, parquet), or columns in memory: {'text': […], 'label': […]}, a
    DataFrame, an Arrow table; parts that are not given are split off train.
    out: where to write; None keeps everything in memory, without checkpoints.
    model: a directory, a model of the Hugging Face hub, or 'minilm', which needs no download.
    seeds: so many runs that differ in nothing else, of which the best on the validation rows is kept.
    resume: go on from the newest checkpoint in out. overwrite: replace a run that is there.
    report_to: 'tensorboard', 'wandb', of the first run.
    options: hyperparameters (learning_rate=3e-5, epochs=3, …), and what there is to say about the table
    (text_column='review', …); by the names of the command line's options.

    Raises InputError for whatever is wrong with what was given, before anything is written.
    """
    refuse_misspelt(options, Asked, Recipe, others=OPTIONS)
    place = None if out is None else Path(out)
    if not isinstance(seeds, Integral) or seeds < 1:
        raise InputError(f"seeds is {seeds!r}, expected a whole number from 1 on")
    refuse_occupied(place, resume, overwrite)
    report_to = [report_to] if isinstance(report_to, str) else report_to
    refuse_unknown(report_to)
    narrator = Narrator(quiet)
    if place is not None and resume and options.get("precision") is None:
        options["precision"] = begun_in(place / CHECKPOINTS)
    job = prepared(train, valid, test, str(model), options, narrator)
    with nullcontext() if place is None else made(place, anew=overwrite and not resume):
        with trackers(report_to, place or Path(), asdict(job.recipe)) as listeners:
            about_data = looked_through(job, narrator)
            before = judged_before(job, narrator) if with_baselines else ()
            first = attempt(job, narrator, place, resume, listeners)
        try:
            more = (attempt(job.again((job.recipe.seed + number) % 2**32), narrator) for number in range(1, seeds))
            finished = best_of(chain([first], more), before, about_data, narrator)
            if place is not None:
                write_run(place, finished, model_card(finished, job, seeds))
        except KeyboardInterrupt:
            narrator.say(f"stopped after training{GOES_ON if place else ''}")
            raise
        if place is not None:
            shutil.rmtree(place / CHECKPOINTS, ignore_errors=True)
    return finished


OPTIONS = tuple(signature(train).parameters)[:-1]  # those written out; the others are Asked's and the recipe's


def refuse_occupied(place: Path | None, resume: bool, overwrite: bool) -> None:
    """Raise InputError where a directory holds what the user did not say to go on from or to replace."""
    if place is None or not place.exists():
        return
    if not place.is_dir():
        raise InputError(f"{place}: is a file, expected a directory to write the run to; choose another --out")
    begun = can_go_on(place)  # with a CARD too: a run that is to replace a finished one
    finished = (place / CARD).exists() and not begun
    if finished and resume:
        raise InputError(f"{place}: this run is finished, there is nothing to resume; --overwrite replaces it")
    if finished and not overwrite:
        raise InputError(f"{place}: holds a finished run; choose another --out, or replace it with --overwrite")
    if begun and not (resume or overwrite):
        raise InputError(f"{place}: holds an unfinished run; go on with --resume, or begin anew with --overwrite")
    if not finished and not begun and any(file.name not in (*TRACKERS, CHECKPOINTS) for file in place.iterdir()):
        raise InputError(f"{place}: holds something that is not a run; choose another --out")


def can_go_on(place: Path) -> bool:
    """Whether an unfinished run has left checkpoints in its directory."""
    return any((place / CHECKPOINTS).glob("step-*"))


def begun_in(checkpoints: Path) -> Precision | None:
    """The precision of an unfinished run: which is faster is found by a try, and the next one may find otherwise."""
    _, manifest = newest_checkpoint(checkpoints) or (None, {})
    found: Precision | None = manifest.get("made_for", {}).get("recipe", {}).get("precision")
    return found


@contextmanager
def made(place: Path, anew: bool) -> Iterator[None]:
    """A run's directory for this run alone, with what trackers and checkpoints left there removed first if it is to
    begin anew.

    Where the block leaves it empty it is removed again. Raises InputError where it cannot be made, or another run
    writes to it, and Unwritable as the block does, with a word on how to go on where something has been learned.
    """
    new = not place.exists()
    make_folder(place / CHECKPOINTS)
    lock = FileLock(place / CHECKPOINTS / "lock")  # lost with the process, however that ends
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{place}: another run writes here; wait for it, or choose another --out") from None
    try:
        for name in TRACKERS if anew else ():
            shutil.rmtree(place / name, ignore_errors=True)
        for old in (place / CHECKPOINTS).glob("step-*") if anew else ():
            shutil.rmtree(old, ignore_errors=True)
        yield
    except Unwritable as error:
        if not can_go_on(place):
            raise
        raise Unwritable(f"{error}{GOES_ON}") from None
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
        with suppress(OSError):  # what holds something stays
            (place / CHECKPOINTS).rmdir()
            if new:
                place.rmdir()


def attempt(
    job: Job,
    narrator: Narrator,
    place: Path | None = None,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
) -> tuple[Job, State]:
    """Train; where that came to nothing, once more with another seed, at most RESTARTS times.

    Small sets and large learning rates now and then leave a model at the commonest answer (Mosbach et al. 2021,
    arXiv:2006.04884). Only the first try has checkpoints: its last one says that it is to be tried again.
    """
    for restart in range(RESTARTS + 1):
        bar = narrator.bar(job.recipe.steps(len(job.train)), job.metric)
        try:
            state = run(job, place, resume, [bar, *listeners], narrator)
        finally:
            bar.close()
        if state.step < job.recipe.steps(len(job.train)):
            narrator.say(f"stopped early: {job.recipe.patience} evaluations without a better {job.metric} (--patience)")
        if not state.collapsed:
            break
        found = f"seed {job.recipe.seed} came to nothing: every validation row gets the same answer"
        if state.step < FEW_STEPS or restart == RESTARTS:
            advice = "train longer" if state.step < FEW_STEPS else "lower --learning-rate, or look at the data"
            job = job.noting(f"{found}; {advice}")
            narrator.warn(job.notes[-1])
            break
        seed = (job.recipe.seed + APART) % 2**32
        job, place, resume, listeners = job.noting(f"{found}; once more with {seed}").again(seed), None, False, ()
        narrator.warn(job.notes[-1])
    return job, state


def best_of(
    tries: Iterable[tuple[Job, State]], before: tuple[Judged, ...], about_data: Findings, narrator: Narrator
) -> Model:
    """The model that was best on the validation rows; its report tells of the others, too."""
    best, best_score, runs = None, -math.inf, []
    for job, state in tries:
        model = finish(job, state, before, narrator)
        assert model.report is not None
        scores = model.report.verdicts[-1].scores
        runs.append(
            SeedRun(job.recipe.seed, state.best_score, {name: scores.named(name) for name in model.task.metrics})
        )
        if best is None or state.best_score > best_score:
            best, best_score, kept = model, state.best_score, job.recipe.seed
    assert best is not None and best.report is not None
    report = best.report
    findings = with_spread(report.findings, runs, report.metrics, kept)
    return replace(best, report=replace(report, findings=findings.joined(about_data)))


def looked_through(job: Job, narrator: Narrator) -> Findings:
    """What is wrong with the data, for the report, where that is of classified texts.

    To be asked before training: it names lines of tables, which may have changed or gone when that is done.
    """
    if not isinstance(job.data.task, TextClassification):
        return Findings()
    return as_findings(of_data(job.data, narrator.wait))


def run(job: Job, place: Path | None, resume: bool, listeners: Sequence[Listener], narrator: Narrator) -> State:
    """Train to the end, with checkpoints below place, and leave the model with its best weights."""
    model, checkpoints = job.checkpoint.model, None if place is None else place / CHECKPOINTS
    recipe = job.recipe
    with ExitStack() as stack:
        rows, valid = stack.enter_context(vocabulary_in_use(model, job.train, job.valid))
        rows, valid = stack.enter_context(frozen(model, recipe, rows, valid, counting=narrator.counting))
        stack.enter_context(adapted(model, recipe.lora_rank, recipe.seed))
        state = State(model, optimizer(model, recipe))
        if checkpoints is not None and resume:
            go_on(job, state, checkpoints, narrator)
        trained(job, state, training(state, job.data.task, rows, valid, recipe), checkpoints, listeners, narrator)
        model.load_state_dict(state.best, strict=False)
    return state


def trained(
    job: Job,
    state: State,
    events: Iterable[Step | Evaluation],
    checkpoints: Path | None,
    listeners: Sequence[Listener],
    narrator: Narrator,
) -> None:
    """Go through the events of training and save checkpoints. Ctrl-C saves one first. Raises InputError on NaN."""
    saved = time.perf_counter()
    try:
        with interrupts() as pressed:
            for event in events:
                for listen in listeners:
                    listen(event)
                late = time.perf_counter() - saved > SAVE_SECONDS
                if checkpoints is not None and (isinstance(event, Evaluation) or late or pressed.is_set()):
                    save_checkpoint(checkpoints, state, job.made_for())
                    saved = time.perf_counter()
                if pressed.is_set():
                    narrator.say(f"stopped after step {state.step}{GOES_ON if checkpoints else ''}")
                    raise KeyboardInterrupt
    except NotFinite as error:
        raise InputError(
            f"{job.places(error.rows)}: the loss is not finite at step {error.step}; look at these rows, "
            f"or lower --learning-rate (now {job.recipe.learning_rate:g})"
        ) from None


def go_on(job: Job, state: State, checkpoints: Path, narrator: Narrator) -> None:
    """Put the state back to the newest good checkpoint. Raises InputError where it belongs to another job."""
    found = newest_checkpoint(checkpoints)
    if found is None:
        narrator.say("no checkpoint to go on from, so from the beginning")
        return
    newest, manifest = found
    mine = json.loads(json.dumps(job.made_for()))
    for name, value in mine.items():
        if manifest["made_for"].get(name) != value:
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
