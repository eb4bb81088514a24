"""The models that are served: loaded and tried aside, then put in the place of the ones before."""

from __future__ import annotations

import copy
import hashlib
import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from headwise.errors import InputError, listing
from headwise.golden import read_golden, replay
from headwise.model import Model, load
from headwise.reading.batches import Examples
from headwise.reading.text import Text
from headwise.serving.batching import Batcher, Work
from headwise.serving.limits import Limits
from headwise.tasks.task import Task
from headwise.training.recipe import Precision
from headwise.training.saving import CARD, digests

log = logging.getLogger("headwise.serve")
WATCHED_EVERY = 1.0  # seconds
ASIDE = Limits(max_queue_seconds=3600)  # of a model that nobody waits for yet


@dataclass(frozen=True, eq=False)
class Served:
    """One version of a model. It never changes; whoever has it can go on with it when another takes its place."""

    name: str
    directory: Path
    model: Model
    version: str  # the beginning of headwise.json's sha256, which has those of all files
    rate: float | None = None  # tokens a second, by its golden records

    @cached_property
    def twin(self) -> Model:
        """The same weights in modules of their own, with a tokenizer of their own, for another thread.

        To be made by the thread that reads texts: a tokenizer is not for two at once. Raises InputError for a graph.
        """
        own = self.model.weights
        shared = {id(weights): weights for weights in (*own.parameters(), *own.buffers())}
        checkpoint = replace(self.model.checkpoint, model=copy.deepcopy(own, shared))
        return replace(self.model, checkpoint=checkpoint, tokenizer=copy.deepcopy(self.model.tokenizer))

    def read(self, texts: Sequence[Text], task: Task | None = None) -> Examples:
        """Texts made ready for it. Raises InputError for what it does not read."""
        self.model.refuse_other_kind(texts)
        self.model.refuse_half_pairs(texts)
        return (task or self.model.task).examples(self.model.tokenizer, texts)

    def work(self, examples: Examples, task: Task | None = None) -> Work:
        """What the batcher computes for them."""
        return Work(self.model.checkpoint.model, task or self.model.task, examples, self.model.precision)

    def told(self, batcher: Batcher, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """The answers of predict, by the way that requests take."""
        examples = self.read(texts)
        work = self.work(examples)
        batcher.submit(work)
        return self.model.task.told(examples, work.outputs.result())


def opened(
    name: str, directory: Path, precision: Precision = "float32", max_batch_tokens: int = ASIDE.max_batch_tokens
) -> Served:
    """A model, loaded whole and tried with its golden records where it has some, in batches of their own.

    max_batch_tokens: of the batches it is to be asked in.

    Raises InputError for one that is damaged, or answers otherwise than when it was trained.
    """
    version = version_of(directory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        served = Served(name, directory, load(directory, precision), version)
    golden = read_golden(directory, precision)
    with closing(Batcher(replace(ASIDE, max_batch_tokens=max_batch_tokens))) as batcher:
        batcher.prepare(served.model.checkpoint.model)
        if golden:
            replay(golden, lambda texts: served.told(batcher, texts))
            served = replace(served, rate=batcher.rates[served.model.checkpoint.model])
    if version_of(directory) != version:
        raise InputError(f"{directory}: changed while it was read")
    return served


def version_of(directory: Path) -> str:
    """The beginning of the sha256 of headwise.json; of the digests of all files where other tools made the model."""
    try:
        card = directory / CARD
        told = card.read_bytes() if card.exists() else str(digests(directory)).encode()
    except OSError as error:
        raise InputError(f"{directory}: cannot be read ({error.strerror})") from None
    return hashlib.sha256(told).hexdigest()[:12]


def signature(directory: Path) -> tuple[Any, ...]:
    """What changes when a file of a directory does."""
    try:
        files = sorted(file for file in directory.iterdir() if file.is_file())
        return tuple((file.name, (facts := file.stat()).st_size, facts.st_mtime_ns, facts.st_ino) for file in files)
    except OSError:
        return ()


class Shelf:
    """All models by name. listen is told of every attempt to put a new version in place: which, and whether it came."""

    def __init__(
        self,
        directories: Sequence[Path],
        listen: Callable[[Served, bool], None] = lambda *_: None,
        precision: Precision = "float32",
        max_batch_tokens: int = ASIDE.max_batch_tokens,
    ):
        names = [directory.absolute().name for directory in directories]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"two models are called {listing(twice)}, as their folders are; rename or link one")
        self.listen, self.precision, self.max_batch_tokens = listen, precision, max_batch_tokens
        self.seen = {name: signature(directory) for name, directory in zip(names, directories, strict=True)}
        found = zip(names, directories, strict=True)
        self.models = {name: opened(name, directory, precision, max_batch_tokens) for name, directory in found}
        for served in self.models.values():
            listen(served, True)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="watcher", daemon=True)

    def watch(self) -> None:
        """Look after the directories until ended."""
        while not self.ended.wait(WATCHED_EVERY):
            for name in self.models:
                self.refresh(name)

    def refresh(self, name: str) -> None:
        """Put the version that lies in a model's directory in place, if it is a new one and a sound one."""
        old = self.models[name]
        now = signature(old.directory)
        if now == self.seen[name]:
            return
        self.seen[name] = now
        try:
            if version_of(old.directory) == old.version:
                return
            new = opened(name, old.directory, self.precision, self.max_batch_tokens)
        except Exception as error:
            said = str(error) if isinstance(error, InputError) else type(error).__name__
            log.warning("%s: the new version is refused, %s serves on: %s", name, old.version, said)
            self.listen(old, False)
            return
        self.models[name] = new
        log.info("%s: version %s takes the place of %s", name, new.version, old.version)
        self.listen(new, True)

    def close(self) -> None:
        """Stop looking."""
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join()
