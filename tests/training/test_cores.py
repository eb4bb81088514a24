"""Parts of some work on a core each: the same numbers, the same order, and an end where one fails."""

from __future__ import annotations

import threading
import time
import weakref

import pytest
import torch

from headwise.training.cores import Turns, each_on_a_core


@pytest.fixture
def three_threads():
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


def threads_of_a_new_one():
    """How many threads PyTorch uses in a thread that begins now."""
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]


def test_a_part_that_fails_ends_those_not_begun(three_threads):
    begun = []

    def make(part):
        begun.append(part)
        if part == 3:
            raise MemoryError
        time.sleep(0.005)  # all of them would take three seconds, which is longer than any machine waits to be told
        return part

    with pytest.raises(MemoryError):
        list(each_on_a_core(make, list(range(2_000))))
    assert len(begun) < 2_000 and torch.get_num_threads() == 3 and threads_of_a_new_one() == 3


@pytest.mark.parametrize(("threads", "parts", "each"), [(1, 4, 1), (2, 1, 2), (2, 5, 1), (5, 2, 2)])
def test_cores_are_shared_out_to_the_parts(threads, parts, each):
    torch.set_num_threads(threads)
    try:
        found = list(each_on_a_core(lambda part: (part, torch.get_num_threads()), range(parts)))
        assert found == [(part, each) for part in range(parts)]
        assert torch.get_num_threads() == threads_of_a_new_one() == threads
    finally:
        torch.set_num_threads(1)


def test_what_was_made_of_a_part_is_let_go(three_threads):
    made = each_on_a_core(lambda part: torch.full((1,), part), range(9))
    held = [weakref.ref(next(made)) for _ in range(9)]
    assert sum(one() is not None for one in held) <= 1


GRADIENTS = (1e8, 1.0, -1e8, 3.0)  # 3 in this order in float32; in most others 4


def added(slow, weight, failing=None):
    """The gradient that passes leave, the slow one of which comes last to where gradients are added."""
    turns = Turns()

    def make(number):
        with turns.taken(number):
            time.sleep(0.05 * (number == slow))
            if number == failing:
                raise MemoryError
            (weight * GRADIENTS[number]).backward()

    with turns.of([weight]):
        list(each_on_a_core(make, range(len(GRADIENTS))))
    return weight.grad.item()


@pytest.mark.parametrize("slow", range(3))
def test_gradients_are_added_in_the_order_of_the_passes(three_threads, slow):
    weight = torch.nn.Parameter(torch.ones(()))
    assert added(slow, weight) == 3
    weight.grad = None
    weight.sum().backward()  # afterwards nobody waits
    assert weight.grad == 1


def test_passes_do_not_wait_for_one_that_failed(three_threads):
    weight = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(MemoryError):
        added(0, weight, failing=0)


def test_passes_do_not_wait_for_one_that_does_not_use_a_weight(three_threads):
    weights = [torch.nn.Parameter(torch.ones(())) for _ in range(2)]
    turns = Turns()

    def make(number):
        with turns.taken(number):
            weights[number % 2].backward()

    with turns.of(weights):
        list(each_on_a_core(make, range(6)))
    assert [weight.grad.item() for weight in weights] == [3, 3]
