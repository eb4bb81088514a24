"""The queue: answers do not depend on neighbours, short work first, nothing is computed for nobody."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import nn

import headwise
from headwise.serving.batching import CROWD, WORKERS, Abandoned, Batcher, Work
from headwise.serving.limits import Limits
from headwise.serving.models import opened
from headwise.serving.refusals import Refused
from headwise.training.inference import predicted


@pytest.fixture(scope="module")
def model(run_of):
    return headwise.load(run_of("films"))


@pytest.fixture
def work(model):
    """Work of some texts."""
    return lambda *texts: Work(model.checkpoint.model, model.task, model.task.examples(model.tokenizer, list(texts)))


@pytest.fixture
def threads():
    """Sets how many threads PyTorch has here, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def halted(monkeypatch):
    """Computing waits until it is let go; what was computed, in order, as the number of sequences and tokens."""
    go, seen = threading.Event(), []

    def slow(model, task, examples, *more, **named):
        go.wait(10)
        seen.append((len(examples.tokens), len(examples.tokens.ids)))
        return predicted(model, task, examples, *more, **named)

    monkeypatch.setattr("headwise.serving.batching.predicted", slow)
    return go, seen


def occupied(batcher, one):
    """The batcher is computing this."""
    batcher.submit(one)
    while not one.begun_at:
        time.sleep(0.001)


@pytest.mark.parametrize("name", ["films", "tagger", "faq", "questions", "several", "stars"])
def test_an_answer_does_not_depend_on_its_neighbours(run_of, name, halted, monkeypatch):
    model = headwise.load(run_of(name))
    texts = ["a fine film", "dull " * 40, "很好 👍", "she smiles and the music plays", "i left " * 70]
    asked = [("how long", text) for text in texts] if name == "questions" else texts
    alone = [
        predicted(model.checkpoint.model, model.task, model.task.examples(model.tokenizer, [one])) for one in asked
    ]
    go, seen = halted
    works = [Work(model.checkpoint.model, model.task, model.task.examples(model.tokenizer, [one])) for one in asked]
    with closing(Batcher(Limits())) as batcher:
        occupied(batcher, Work(model.checkpoint.model, model.task, model.task.examples(model.tokenizer, asked[:1])))
        for one in works:
            batcher.submit(one)
        go.set()
        for one, (expected, _) in zip(works, alone, strict=True):
            assert torch.allclose(one.outputs.result(10), expected, atol=1e-5)
    assert len(seen) == 2  # all five together
    for one, (expected, _) in zip(works, alone, strict=True):
        mine = model.task.told(one.examples, one.outputs.result())
        theirs = model.task.told(one.examples, expected)
        assert [list(answer) for answer in mine] == [list(answer) for answer in theirs]
        assert [answer.get("label") for answer in mine] == [answer.get("label") for answer in theirs]


def test_a_worker_outlives_what_cannot_be_delivered(work, monkeypatch, threads):
    threads(1)
    with closing(Batcher(Limits())) as batcher:
        broken, whole = work("a fine film"), work("dull")
        with monkeypatch.context() as patch:
            patch.setattr("headwise.serving.batching.deliver", lambda *_: (_ for _ in ()).throw(MemoryError()))
            batcher.submit(broken)
            with pytest.raises(MemoryError):
                broken.outputs.result(10)
        batcher.submit(whole)
        assert whole.outputs.result(10).shape == (1, 2)


def test_many_texts_are_cut_into_batches_of_the_budget(work, model, halted):
    go, seen = halted
    go.set()
    texts = ["a fine film , warm and funny"] * 30 + ["dull"] * 9
    with closing(Batcher(Limits(max_batch_tokens=64))) as batcher:
        one = work(*texts)
        batcher.submit(one)
        found = model.task.probabilities(one.outputs.result(10))
    assert np.allclose(found, model.probabilities(texts), atol=1e-5)
    assert all(tokens <= 64 for _, tokens in seen) and len(seen) > 4


def test_short_work_overtakes_long_work_but_not_for_ever(work, halted):
    go, seen = halted
    with closing(Batcher(Limits(max_batch_tokens=60))) as batcher:
        occupied(batcher, work("a"))
        long, short = work("dull " * 50), work("fine")
        batcher.submit(long)
        batcher.submit(short)
        go.set()
        long.outputs.result(10)
        assert short.done_at < long.done_at
        go.clear()
        seen.clear()
        occupied(batcher, work("a"))
        old = work("dull " * 50)
        batcher.submit(old)
        time.sleep(0.3)  # longer than it would take to compute
        late = work("fine")
        batcher.submit(late)
        go.set()
        late.outputs.result(10)
        assert old.done_at < late.done_at


def test_what_nobody_waits_for_is_not_computed(work, halted):
    go, seen = halted
    with closing(Batcher(Limits(max_batch_tokens=8))) as batcher:
        occupied(batcher, work("a"))
        works = [work("she smiles") for _ in range(40)]
        for one in works:
            batcher.submit(one)
        for one in works[2:]:
            one.abandon()
        assert batcher.works == 3
        go.set()
        for one in works[:2]:
            one.outputs.result(10)
        batcher.close()
        assert len(seen) <= 3 and batcher.dropped == 38 and batcher.works == 0


def test_two_workers_compute_at_once(work, threads, halted):
    go, seen = halted
    threads(2)
    with closing(Batcher(Limits())) as batcher:
        assert len(batcher.workers) == 2
        occupied(batcher, work("a"))
        occupied(batcher, work("b"))  # while the first is not done
        works = [work("she smiles") for _ in range(8)]
        for one in works:
            batcher.submit(one)
        go.set()
        alone = [one.outputs.result(10) for one in works]
        assert all(torch.allclose(one, alone[0], atol=1e-5) for one in alone)
    assert sum(sequences for sequences, _ in seen) == 10 and batcher.works == 0


def test_the_first_two_batches_of_a_model_are_computed_as_all_others(run_of, threads, monkeypatch):
    """It could be told to leave its training mode by one of them, and be asked by the other while half of it has."""
    threads(2)
    usual = nn.Module.train

    def slow(self, mode=True):
        self.training = mode
        time.sleep(0.02)
        return usual(self, mode)

    fresh = headwise.load(run_of("films"))
    monkeypatch.setattr(nn.Module, "train", slow)
    many = fresh.task.examples(fresh.tokenizer, ["a fine film , warm and funny"] * 60)
    works = [Work(fresh.checkpoint.model, fresh.task, many) for _ in range(2)]
    with closing(Batcher(Limits(max_batch_tokens=64))) as batcher:
        for one in works:
            batcher.submit(one)
        found = torch.cat([one.outputs.result(20) for one in works])
    assert torch.allclose(found, found[:1].expand_as(found), atol=1e-5)


def test_workers_share_what_waits(work, threads, halted, monkeypatch):
    go, seen = halted
    threads(2)
    monkeypatch.setattr("headwise.serving.batching.SHARED", 1)
    with closing(Batcher(Limits())) as batcher:
        occupied(batcher, work("a"))
        occupied(batcher, work("b"))
        works = [work("she smiles") for _ in range(8)]
        for one in works:
            batcher.submit(one)
        go.set()
        for one in works:
            one.outputs.result(10)
    assert max(sequences for sequences, _ in seen) == 4


def test_free_workers_end_where_all_that_waits_is_abandoned(work, threads, halted):
    go, seen = halted
    threads(2)
    batcher = Batcher(Limits())
    occupied(batcher, work("a"))
    occupied(batcher, work("b"))
    works = [work("she smiles") for _ in range(8)]
    for one in works:
        batcher.submit(one)
        one.abandon()
    go.set()
    batcher.close()
    assert len(seen) == 2 and batcher.dropped == 8 and not batcher.queue


def test_work_that_was_begun_is_given_up_between_batches(work, halted):
    go, seen = halted
    with closing(Batcher(Limits(max_batch_tokens=8))) as batcher:
        one = work(*["she smiles"] * 50)
        occupied(batcher, one)
        one.abandon()
        go.set()
        with pytest.raises(Abandoned):
            one.outputs.result(10)
    assert len(seen) <= 2 and batcher.works == 0


def test_a_full_queue_says_when_to_come_back(work, halted):
    go, _ = halted
    with closing(Batcher(Limits(max_concurrent_requests=3))) as batcher:
        waiting = [work("fine") for _ in range(3)]
        for one in waiting:
            batcher.submit(one)
        with pytest.raises(Refused) as refused:
            batcher.submit(work("fine"))
        assert refused.value.status == 429 and refused.value.retry_after >= 1
        go.set()
        for one in waiting:
            one.outputs.result(10)
        batcher.submit(work("fine"))


def test_threads_take_turns_more_quickly_in_a_crowd(work, halted):
    go, _ = halted
    works = [work("a fine film") for _ in range(CROWD + 1)]
    with closing(Batcher(Limits())) as batcher:
        calm = sys.getswitchinterval()
        for one in works:
            batcher.submit(one)
        assert sys.getswitchinterval() < calm
        go.set()
        for one in works:
            one.outputs.result(10)
    assert sys.getswitchinterval() == calm


def test_nothing_waits_longer_than_the_limit(work, halted):
    go, _ = halted
    with closing(Batcher(Limits(max_queue_seconds=0.1))) as batcher:
        occupied(batcher, work("a"))
        one = work("fine")
        batcher.submit(one)
        time.sleep(0.2)
        go.set()
        with pytest.raises(Refused) as refused:
            one.outputs.result(10)
        assert refused.value.status == 429


def test_a_failure_harms_no_neighbour(work, monkeypatch):
    def fails(model, task, examples, *more, **named):
        if examples.tokens.lengths.max() > 40:
            raise RuntimeError("planted")
        return predicted(model, task, examples, *more, **named)

    monkeypatch.setattr("headwise.serving.batching.predicted", fails)
    with closing(Batcher(Limits())) as batcher:
        good, bad = work("fine"), work("dull " * 45)
        with batcher.changed:  # both are there before any is computed
            batcher.submit(good)
            batcher.submit(bad)
        assert good.outputs.result(10).shape == (1, 2)
        with pytest.raises(RuntimeError, match="planted"):
            bad.outputs.result(10)


def test_numbers_that_are_none_are_an_error(work, monkeypatch):
    broken = lambda m, task, examples, **named: (torch.full((len(examples.tokens), 2), torch.nan), 0.0)  # noqa: E731
    monkeypatch.setattr("headwise.serving.batching.predicted", broken)
    with closing(Batcher(Limits())) as batcher:
        one = work("fine")
        batcher.submit(one)
        with pytest.raises(Refused) as refused:
            one.outputs.result(10)
        assert refused.value.status == 424


def test_closing_answers_what_waits(work, halted):
    go, _ = halted
    batcher = Batcher(Limits())
    works = [work("fine") for _ in range(5)]
    for one in works:
        batcher.submit(one)
    go.set()
    batcher.close()
    assert all(one.outputs.done() for one in works)


def test_what_a_model_takes_is_compiled_on_as_many_threads_as_compute(run_of, masked, monkeypatch):
    seen, before = [], torch.get_num_threads()
    noted = lambda model, most: seen.append((model, most, torch.get_num_threads()))  # noqa: E731
    monkeypatch.setattr("headwise.serving.batching.compile_products", noted)
    for directory in (run_of("films"), masked):  # with golden records, and without any
        seen.clear()
        served = opened("one", directory, max_batch_tokens=64)
        assert seen == [(served.model.checkpoint.model, 64, max(1, before // WORKERS))]
    assert torch.get_num_threads() == before
