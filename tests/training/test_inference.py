"""Passes that run at once give what they give one after the other, and leave the process as it was."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from headwise.core.transformer import HeadedEncoder
from headwise.families.checkpoint import read_model
from headwise.reading.text import TextTokenizer
from headwise.tasks.text_classification import TextClassification
from headwise.training.inference import features, predicted

TASK = TextClassification(("bad", "good"))


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def asked(directory_of, films):
    """A model, and 32 rows of 4 to 40 tokens."""
    tokenizer = TextTokenizer.read(directory_of("bert"), 40)
    texts = [" ".join([text] * (1 + i % 5)) for i in range(4) for text, _ in films]
    targets = np.array([TASK.labels.index(label) for _, label in films] * 4)
    return read_model(directory_of("bert"), 2, seed=1).model, TASK.examples(tokenizer, texts, targets)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_passes_at_once_are_those_in_turn(asked, precision, monkeypatch, two_threads):
    model, examples = asked
    whole, loss = predicted(model, TASK, examples, precision=precision)
    vectors = features(model, examples.tokens, precision)
    monkeypatch.setattr(HeadedEncoder, "pass_tokens", 60)
    told, names = [], set()
    usual = model.states
    monkeypatch.setattr(model, "states", lambda *given: names.add(threading.current_thread().name) or usual(*given))
    cut, other = predicted(model, TASK, examples, lambda rows, total: told.append((rows, total)), precision)
    bound = 1e-5 if precision == "float32" else 0.02
    assert torch.allclose(whole, cut, atol=bound) and other == pytest.approx(loss, abs=bound)
    assert np.allclose(features(model, examples.tokens, precision), vectors, atol=10 * bound)
    assert [rows for rows, _ in told] == sorted(rows for rows, _ in told) and told[-1] == (32, 32) and len(told) > 4
    assert threading.current_thread().name not in names
    assert torch.get_num_threads() == 2
