"""Training with the vocabulary in use must be training with all of it."""

from __future__ import annotations

import errno
import io
import os

import numpy as np
import pytest
import torch

from headwise.families.checkpoint import read_model
from headwise.reading.text import TextTokenizer
from headwise.tasks.text_classification import TextClassification
from headwise.training import vocabulary
from headwise.training.inference import predicted
from headwise.training.loop import State, training
from headwise.training.optimizers import optimizer
from headwise.training.recipe import Recipe
from headwise.training.vocabulary import on_disk, vocabulary_in_use

TASK = TextClassification(("bad", "good"))
RECIPE = Recipe(learning_rate=3e-3, epochs=4, batch_size=4, dropout=0.1, eval_steps=2, patience=0)


@pytest.fixture
def parts(directory_of, films):
    """Rows to train on, rows to validate on with tokens of their own, and the model before a step."""
    tokenizer = TextTokenizer.read(directory_of("bert"), 40)
    targets = np.array([TASK.labels.index(label) for _, label in films])
    train = TASK.examples(tokenizer, [text for text, _ in films[:5]], targets[:5])
    valid = TASK.examples(tokenizer, [text for text, _ in films[3:]], targets[3:])
    return train, valid, read_model(directory_of("bert"), 2, dropout=0.1).model


def run(model, train, valid):
    state = State(model, optimizer(model, RECIPE))
    list(training(state, TASK, train, valid, RECIPE))
    return state


def test_the_same_model_comes_out(parts, directory_of):
    train, valid, model = parts
    before = model.encoder.embeddings.tokens.weight.detach().clone()
    whole = read_model(directory_of("bert"), 2, dropout=0.1).model
    plain = run(whole, train, valid)
    with vocabulary_in_use(model, train, valid) as (some, others):
        assert len(model.encoder.embeddings.tokens.weight) < len(before) / 2
        fast = run(model, some, others)
    assert fast.losses == pytest.approx(plain.losses, abs=1e-5)
    assert [one["loss"] for one in fast.history] == pytest.approx([one["loss"] for one in plain.history], abs=1e-5)
    used = np.unique(np.concatenate([train.tokens.ids, valid.tokens.ids]))
    for name, weight in whole.state_dict().items():
        ours = model.state_dict()[name]
        rows = used if name.endswith("tokens.weight") else slice(None)
        assert torch.allclose(ours[rows], weight[rows], atol=1e-5), name
    rest = np.setdiff1d(np.arange(len(before)), used)
    assert torch.equal(model.encoder.embeddings.tokens.weight[rest], before[rest])
    assert not torch.equal(model.encoder.embeddings.tokens.weight[used], before[used])


@pytest.mark.parametrize("room", [True, False], ids=["on disk", "disk full"])
def test_the_whole_table_is_back_after_a_failure(parts, room, monkeypatch):
    if not room:
        monkeypatch.setattr(vocabulary, "TemporaryFile", Full)
    train, valid, model = parts
    before, _ = predicted(model, TASK, valid)
    with pytest.raises(KeyboardInterrupt), vocabulary_in_use(model, train, valid) as (_, others):
        assert torch.allclose(predicted(model, TASK, others)[0], before, atol=1e-6)
        raise KeyboardInterrupt
    assert torch.equal(predicted(model, TASK, valid)[0], before)


class Full(io.BytesIO):
    """A file on a full disk, which says so when it is written, or only when it is closed."""

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    def __exit__(self, *_):
        self.flush()


def test_the_table_in_a_file_is_another_and_changes_as_any_does():
    table = torch.arange(12.0).view(4, 3)
    copy = on_disk(table.T)
    assert copy.data_ptr() != table.data_ptr()
    copy[1] = 7
    if not (child := os.fork()):
        copy.numpy()[:] = 0
        os._exit(0)
    os.waitpid(child, 0)
    assert copy.tolist() == [[0, 3, 6, 9], [7] * 4, [2, 5, 8, 11]] and table[0, 1] == 1


def nowhere():
    raise FileNotFoundError("no usable temporary directory")


@pytest.mark.parametrize("opened", [Full, nowhere])
def test_where_there_is_no_room_it_stays(opened, monkeypatch):
    monkeypatch.setattr(vocabulary, "TemporaryFile", opened)
    table = torch.ones(2, 3)
    assert on_disk(table) is table
