"""Parts of some work, each on a core of its own: cores that share a part wait for each other at every product."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from threading import Condition, local
from typing import TypeVar

import torch
from torch import Tensor, nn

Part = TypeVar("Part")
Made = TypeVar("Made")


@cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay for as long as the process: new ones would first have to find room for what they compute."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # whose threads stay behind


def each_on_a_core(make: Callable[[Part], Made], parts: Sequence[Part]) -> Iterator[Made]:
    """What is made of each part, in their order, as soon as it is there.

    Several parts are computed at once; where there are fewer than cores, some cores share one.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(parts))
    if workers < 2:
        yield from map(make, parts)
        return

    def made(part: Part) -> Made:
        torch.set_num_threads(threads // workers)  # each time: some of PyTorch's libraries have one number for all
        return make(part)

    begun: deque[Future[Made]] = deque()
    try:
        begun.extend(pool(threads).submit(made, part) for part in parts)
        while begun:
            yield begun[0].result()
            begun.popleft()  # what was made of it need not be held any longer
    finally:
        for one in begun:
            one.cancel()
        wait(begun)
        torch.set_num_threads(threads)


class Turns:
    """Gradients that several backward passes make at once, added up in the order of the passes.

    So their sums are the same bits every time. All passes come to a weight at about the same time; one that is early
    waits until those before it have added what they have for that weight, or have ended.
    """

    def __init__(self) -> None:
        self.changed = Condition()
        self.here = local()  # the number of this thread's pass
        self.added: dict[int, set[int]] = {}  # by weight, the passes that it has the gradient of
        self.ended: set[int] = set()

    @contextmanager
    def of(self, weights: Iterable[nn.Parameter]) -> Iterator[None]:
        """Inside, gradients of these weights are added in turn."""
        with ExitStack() as stack:
            for key, weight in enumerate(weights):
                self.added[key] = set()
                before = weight.register_hook(partial(self.wait, key))  # type: ignore[no-untyped-call]
                after = weight.register_post_accumulate_grad_hook(partial(self.tell, key))  # type: ignore[no-untyped-call]
                stack.callback(before.remove)
                stack.callback(after.remove)
            yield

    @contextmanager
    def taken(self, number: int) -> Iterator[None]:
        """Inside, this thread computes the pass of this number, from 0."""
        self.here.number = number
        try:
            yield
        finally:
            with self.changed:
                self.ended.add(number)
                self.changed.notify_all()

    def wait(self, key: int, gradient: Tensor) -> None:
        """Until it is this pass's turn to add a gradient."""
        earlier = set(range(self.here.number))
        with self.changed:
            self.changed.wait_for(lambda: earlier <= self.added[key] | self.ended)

    def tell(self, key: int, weight: Tensor) -> None:
        """That the gradient of this pass has been added."""
        with self.changed:
            self.added[key].add(self.here.number)
            self.changed.notify_all()
