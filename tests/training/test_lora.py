"""Adapters learn in place of the encoder's weights, and become part of them: an ordinary model comes out."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import headwise
from headwise.errors import InputError
from headwise.families.checkpoint import read_model
from headwise.reading.text import TextTokenizer
from headwise.tasks.text_classification import TextClassification
from headwise.training import loop
from headwise.training.inference import predicted
from headwise.training.lora import adapted
from headwise.training.optimizers import learning
from headwise.training.recipe import Recipe

RANK = 4
RECIPE = {"lora_rank": RANK, "epochs": 6.0, "batch_size": 4, "eval_steps": 4, "patience": 0, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def job(directory_of, films, table, tmp_path_factory):
    """A table, and a finished run on it with adapters."""
    place = tmp_path_factory.mktemp("lora")
    file = table(place / "films.tsv", films)
    model = headwise.train(file, file, out=place / "run", model=str(directory_of("bert")), quiet=True, **RECIPE)
    return file, place / "run", model


def test_merged_they_answer_as_they_did_beside(directory_of, films):
    model = read_model(directory_of("bert"), 2).model
    task, tokenizer = TextClassification(("bad", "good")), TextTokenizer.read(directory_of("bert"), 40)
    examples = task.examples(tokenizer, [text for text, _ in films])
    names, before = list(model.state_dict()), predicted(model, task, examples)[0]
    with adapted(model, RANK, seed=0):
        assert torch.equal(predicted(model, task, examples)[0], before)  # nothing has been learnt yet
        for name, weight in learning(model).items():
            if name.endswith(".up"):
                torch.nn.init.normal_(weight, 0, 0.1)
        beside = predicted(model, task, examples)[0]
    assert list(model.state_dict()) == names and len(learning(model)) == len(names)
    assert (beside - before).abs().max() > 0.01
    assert torch.allclose(predicted(model, task, examples)[0], beside, atol=1e-5)


def test_only_adapters_and_the_head_learn(job, directory_of):
    _, run, _ = job
    fresh = read_model(directory_of("bert"), 2, seed=Recipe.seed).model.state_dict()
    trained = read_model(run).model.state_dict()
    for name, weight in trained.items():
        change = (weight - fresh[name]).numpy()
        if name.startswith("head."):
            assert np.abs(change).max() > 0, name
        elif ".blocks." in name and name.endswith("weight") and weight.dim() == 2:
            sizes = np.linalg.svd(change, compute_uv=False)
            assert sizes[0] > 1e-3 and sizes[RANK] < 1e-5 * sizes[0], name
        else:
            assert not change.any(), name


def test_what_they_save_is_said(job):
    _, _, model = job
    assert any("adapters of rank 4 at 12 layers and the head" in note for note in model.report.notes)


def test_transformers_opens_the_run_with_the_same_outputs(job, films):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    _, run, model = job
    theirs = AutoModelForSequenceClassification.from_pretrained(run).eval()
    texts = [text for text, _ in films]
    batch = AutoTokenizer.from_pretrained(run)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = (theirs(**batch).logits / model.task.fitted.temperature).softmax(-1).numpy()
    assert np.allclose(model.probabilities(texts), expected, atol=1e-5)
    assert np.array_equal(headwise.load(run).probabilities(texts), model.probabilities(texts))


def test_a_stopped_run_goes_on_to_the_same_bits(job, directory_of, command, tmp_path, monkeypatch):
    file, finished, _ = job
    words = ["train", file, "--valid", file, "--model", directory_of("bert"), "--out", tmp_path / "run"]
    words += [word for name, value in RECIPE.items() for word in (f"--{name.replace('_', '-')}", value)]
    usual = loop.one_step

    def pressed(state, *rest):
        if state.step == 5:
            signal.raise_signal(signal.SIGINT)
        return usual(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "one_step", pressed)
        assert command(*words)[0] == 130
    kept = load_file(tmp_path / "run/checkpoints/step-00000006/model.safetensors")
    assert kept and all(name.endswith((".up", ".down")) or name.startswith("head.") for name in kept)
    assert command(*words, "--resume")[0] == 0
    assert (tmp_path / "run/model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("rank", "message"),
    [
        (32, "lora_rank is 32, expected less than the model's width, 32"),
        (-1, "lora_rank is -1, expected 0 or more"),
        (2.5, "lora_rank is 2.5, expected a whole number"),
    ],
)
def test_a_rank_that_is_none_is_refused(rank, message, job, directory_of):
    with pytest.raises(InputError, match=message):
        headwise.train(job[0], model=str(directory_of("bert")), quiet=True, lora_rank=rank)
