"""Batching: one queue for everything that is to be computed, and workers that compute it in packed batches."""

from __future__ import annotations

import heapq
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from headwise.core.prepacked import compile_products
from headwise.core.transformer import HeadedEncoder
from headwise.reading.batches import Examples
from headwise.reading.text import Tokens
from headwise.serving.limits import Limits
from headwise.serving.refusals import Refused, overloaded
from headwise.tasks.task import Array, Task
from headwise.training.inference import predicted
from headwise.training.recipe import Precision

GUESSED_RATE = 1000.0  # tokens a second of a model that was never measured
CLOCK_SHARE = 0.2  # of a new measurement in the mean
SWITCH_SECONDS = 0.0002  # in which a thread gives way to another that waits; usually 5 ms, as long as a text takes
CROWD = 64  # requests; where more wait, threads give way sooner, or who reads and answers them is late
CROWD_SWITCH_SECONDS = 0.00005  # sooner costs 3 % of the requests a second where few wait
GIVE_WAY = 5  # how much a worker gives way to what reads and answers requests, as `nice` counts
SHARED = 128  # tokens; more than that waiting is shared among the workers, of which one will soon be free
WORKERS = 2  # while one waits, for Python or for a core that a request is read on, the other computes


class Abandoned(Exception):
    """Nobody waits for this work any more."""


class Work:
    """The rows of one request, made ready for their model; their outputs, as predicted() gives them, in `outputs`."""

    def __init__(self, model: HeadedEncoder, task: Task, examples: Examples, precision: Precision = "float32"):
        self.model, self.task, self.examples, self.precision = model, task, examples, precision
        self.outputs: Future[Tensor] = Future()
        self.abandoned = False
        self.queued_at = self.begun_at = self.done_at = 0.0
        self.parts: list[Tensor] = []
        self.missing = 0

    @property
    def size(self) -> int:
        """How many tokens."""
        return len(self.examples.tokens.ids)

    def abandon(self) -> None:
        """Nobody waits for it any more: what is not computed yet never will be."""
        self.abandoned = True
        self.outputs.cancel()

    def begin(self) -> bool:
        """Whether it is still worth computing."""
        if self.abandoned:
            self.fail(Abandoned())
        if self.outputs.done():
            return False
        if not self.begun_at:
            if not self.outputs.set_running_or_notify_cancel():
                return False
            self.begun_at = time.monotonic()
        return True

    def fail(self, error: Exception) -> None:
        """Tell who waits."""
        with suppress(InvalidStateError):  # answered, or cancelled, already
            self.outputs.set_exception(error)


@dataclass(order=True, frozen=True)
class Slice:
    """Some sequences of a work, few enough for a batch. Those that are due first are computed first."""

    due: float
    number: int  # of two that are due at once the older
    work: Work = field(compare=False)
    place: int = field(compare=False)  # among the slices of its work
    tokens: Tokens = field(compare=False)
    asked: Array | None = field(compare=False)  # as of Examples
    seconds: float = field(compare=False)  # what computing it will take, by what is known

    @property
    def outputs(self) -> int:
        """How many rows of outputs it gets."""
        if self.work.model.head.spec.pool is not None:
            return len(self.tokens)
        return len(self.tokens.ids) if self.asked is None else int(self.asked.sum())


@dataclass(frozen=True)
class Computed:
    """A batch that was computed."""

    tokens: int
    seconds: float


class Batcher:
    """Takes work of any model; close() computes what waits and ends.

    Workers share the threads that PyTorch has here: on 2 cores each computes its batches on one, and none waits at
    every matrix product for another that the system keeps off its core.

    A slice is due when it would have been done, had it been computed on arrival: so a short request overtakes a long
    one, but only one that came shortly before it, and nothing waits forever. A batch is what is due first, and
    whatever else of the same model fits beside it, up to this worker's share of all that waits.
    """

    def __init__(self, limits: Limits, listen: Callable[[Computed], None] = lambda batch: None):
        self.limits, self.listen = limits, listen
        self.queue: list[Slice] = []
        self.works = self.dropped = 0  # requests that wait or are computed; slices that were not computed
        self.backlog = 0.0  # seconds that what waited when the last batch was taken, and has come since, will take
        self.rates: WeakKeyDictionary[HeadedEncoder, float] = WeakKeyDictionary()  # tokens a second of a worker
        self.numbers, self.changed, self.closing = count(), threading.Condition(), False
        size = min(WORKERS, torch.get_num_threads())
        self.threads = torch.get_num_threads() // size  # of each
        self.pace()
        self.workers = [
            threading.Thread(target=self.run, name=f"worker {number}", daemon=True) for number in range(size)
        ]
        for worker in self.workers:
            worker.start()

    def prepare(self, model: HeadedEncoder) -> None:
        """Compile what a model's batches take, on as many threads as a worker has, so that none waits for it."""
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(self.threads,)) as worker:
            worker.submit(compile_products, model, self.limits.max_batch_tokens).result()

    @property
    def waiting_tokens(self) -> int:
        """Tokens of what is waited for."""
        with self.changed:
            return self.waiting()

    def waiting(self) -> int:
        """The same, for who has the lock."""
        return sum(len(one.tokens.ids) for one in self.queue if not one.work.abandoned)

    def refuse_where_full(self) -> None:
        """Raises Refused where nothing more is taken."""
        with self.changed:
            if (
                self.works >= self.limits.max_concurrent_requests
                or self.backlog > self.limits.max_queue_seconds
                or self.closing
            ):
                raise overloaded(self.backlog / 2)

    def submit(self, work: Work) -> None:
        """Put work into the queue. Raises Refused where it is full."""
        with self.changed:
            self.refuse_where_full()
            work.queued_at = time.monotonic()
            slices = self.slices(work)
            work.missing, work.parts = len(slices), [torch.empty(0)] * len(slices)
            self.works += 1
            self.pace()
            work.outputs.add_done_callback(lambda _: self.left())
            for one in slices:
                heapq.heappush(self.queue, one)
                self.backlog += one.seconds / len(self.workers)
            self.changed.notify(len(slices))

    def left(self) -> None:
        """A request is answered, or nobody waits for it."""
        with self.changed:
            self.works -= 1
            self.pace()

    def pace(self) -> None:
        """Let Python's threads take turns as quickly as it is crowded here."""
        sys.setswitchinterval(CROWD_SWITCH_SECONDS if self.works > CROWD else SWITCH_SECONDS)

    def slices(self, work: Work) -> list[Slice]:
        """Work cut into slices of at most batch_tokens."""
        rate, due = self.rates.get(work.model, GUESSED_RATE), work.queued_at
        made: list[Slice] = []
        for tokens, asked in self.parts(work.examples):
            seconds = len(tokens.ids) / rate
            due += seconds
            made.append(Slice(due, next(self.numbers), work, len(made), tokens, asked, seconds))
        return made

    def parts(self, examples: Examples) -> Iterator[tuple[Tokens, Array | None]]:
        """Sequences for a batch each, and of which positions the head is asked."""
        tokens, asked, most, start = examples.tokens, examples.asked, self.limits.max_batch_tokens, 0
        if len(tokens.ids) <= most:  # as nearly always
            yield tokens, asked
            return
        while start < len(tokens):
            whole = np.cumsum(tokens.lengths[start:])
            rows = np.arange(start, start + max(1, int((whole <= most).sum())))
            yield tokens.select(rows), None if asked is None else asked[tokens.places(rows)]
            start += len(rows)

    def batch(self) -> list[Slice]:
        """What is to be computed next: slices of one model; empty where nothing that waits is wanted."""
        chosen: list[Slice] = []
        others: list[Slice] = []
        share = max(SHARED, math.ceil(self.waiting() / len(self.workers)))
        room = min(self.limits.max_batch_tokens, share)
        while self.queue and room > 0:
            one = heapq.heappop(self.queue)
            size = len(one.tokens.ids)
            if chosen and (one.work.model is not chosen[0].work.model or size > room):
                others.append(one)
            elif self.wanted(one):
                chosen.append(one)
                room -= size
        for one in others:
            heapq.heappush(self.queue, one)
        self.backlog = sum(one.seconds for one in self.queue if not one.work.abandoned) / len(self.workers)
        return chosen

    def wanted(self, one: Slice) -> bool:
        """Whether somebody still waits for a slice; nobody is kept waiting beyond the limit."""
        late = time.monotonic() - one.work.queued_at > self.limits.max_queue_seconds
        if late and not one.work.begun_at and not one.work.abandoned:
            one.work.fail(overloaded(self.backlog / 2))
        wanted = one.work.begin()
        self.dropped += not wanted
        return wanted

    def run(self) -> None:
        """Compute until closed."""
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GIVE_WAY)  # this thread's
        torch.set_num_threads(self.threads)  # of this thread, and of those that begin after it
        while True:
            with self.changed:
                while not self.queue and not self.closing:
                    self.changed.wait()
                if not self.queue:
                    return
                batch = self.batch()
            if batch:
                self.answer(batch)
            del batch  # or the last answer would be kept until the next question

    def answer(self, batch: Sequence[Slice]) -> None:
        """Compute a batch; where that fails, each slice by itself, so that nobody suffers for another."""
        try:
            parts = self.computed(batch)
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    self.answer([one])
            else:
                batch[0].work.fail(error)
            return
        for one, part in zip(batch, parts, strict=True):
            try:
                deliver(one, part)
            except Exception as error:  # a worker that ends is never replaced
                one.work.fail(error)

    def computed(self, batch: Sequence[Slice]) -> list[Tensor]:
        """The outputs of each slice."""
        model, task, precision = batch[0].work.model, batch[0].work.task, batch[0].work.precision
        tokens = Tokens.joined([one.tokens for one in batch])
        masks = [one.asked for one in batch if one.asked is not None]
        began = time.perf_counter()
        examples = Examples(tokens, asked=np.concatenate(masks) if masks else None)
        outputs, _ = predicted(model, task, examples, precision=precision)
        seconds = time.perf_counter() - began
        rate = len(tokens.ids) / seconds
        self.rates[model] = CLOCK_SHARE * rate + (1 - CLOCK_SHARE) * self.rates.get(model, rate)
        self.listen(Computed(len(tokens.ids), seconds))
        return list(torch.split(outputs, [one.outputs for one in batch]))

    def close(self) -> None:
        """Answer what waits, then end."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        for worker in self.workers:
            worker.join()


def deliver(one: Slice, part: Tensor) -> None:
    """Give a work a part of its outputs, and, with the last one, all of them to who waits."""
    work = one.work
    if work.outputs.done():
        return
    if not bool(torch.isfinite(part).all()):
        work.fail(Refused(424, "Backend", "the model makes no finite numbers of this; its directory is damaged"))
        return
    work.parts[one.place] = part
    work.missing -= 1
    if work.missing == 0:
        work.done_at = time.monotonic()
        work.outputs.set_result(work.task.pooled(torch.cat(work.parts), work.examples.counts))
