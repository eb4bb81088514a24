"""Few rows per class: rows of a class are drawn together, and the head that is fitted to them is an ordinary one."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import headwise
from headwise.core.packed import Packed
from headwise.core.spec import Head as HeadSpec
from headwise.core.transformer import Head
from headwise.errors import InputError
from headwise.reading.batches import Batch
from headwise.tasks.text_classification import TextClassification
from headwise.training import loop
from headwise.training.few_shot import PENALTY, contrast, contrasted, fit, in_pairs
from headwise.training.recipe import Recipe

RECIPE = {"few_shot": True, "epochs": 6.0, "batch_size": 4, "eval_steps": 4, "patience": 0, "learning_rate": 0.003}


@pytest.fixture(scope="module")
def job(directory_of, films, table, tmp_path_factory):
    """A table, and a finished few-shot run on it."""
    place = tmp_path_factory.mktemp("few")
    file = table(place / "films.tsv", films)
    model = headwise.train(file, file, out=place / "run", model=str(directory_of("bert")), quiet=True, **RECIPE)
    return file, place / "run", model


def test_eight_rows_are_learnt_and_the_run_is_an_ordinary_one(job, films):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    _, run, model = job
    texts = [text for text, _ in films]
    assert [one["label"] for one in model.predict(texts)] == [label for _, label in films]
    assert np.array_equal(headwise.load(run).probabilities(texts), model.probabilities(texts))
    batch = AutoTokenizer.from_pretrained(run)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        theirs = AutoModelForSequenceClassification.from_pretrained(run).eval()(**batch).logits.softmax(-1).numpy()
    assert np.allclose(model.probabilities(texts), theirs, atol=1e-5)


def test_an_epoch_has_every_row_once_and_rows_of_a_class_side_by_side():
    targets = np.array([2, 0, 1, 0, 1, 2, 2, 2, 0])
    order = in_pairs(targets, seed=3, epoch=1)
    assert sorted(order) == list(range(9)) and not np.array_equal(order, in_pairs(targets, seed=3, epoch=2))
    assert np.array_equal(order, in_pairs(targets, seed=3, epoch=1))
    sorts = targets[order]
    assert sum(sorts[:-1] == sorts[1:]) >= 4  # four pairs, and one row of class 0 left over


def test_the_contrast_is_small_where_classes_lie_apart():
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    near, mixed = (torch.eye(3)[one] for one in (targets, torch.tensor([0, 0, 0, 1, 1, 1])))
    apart, together = (contrast(one, targets) for one in (near, mixed))
    assert apart.shape == (6,) and apart.max() < together.min()
    assert apart.mean().item() == pytest.approx(0, abs=1e-3)
    assert contrast(near[:3], targets[:3]).tolist() == [0, 0, 0]  # each alone in its class


@pytest.mark.parametrize("classes", [2, 4])
def test_the_fitted_layer_is_the_optimum_scikit_learn_finds(classes):
    generator = np.random.default_rng(0)
    features = generator.normal(3, 2, (60, 8)).astype(np.float32)
    truth = ((features - 3) @ generator.normal(size=(8, classes))).argmax(1)
    task = TextClassification(tuple(map(str, range(classes))))
    head = Head(HeadSpec(classes), 8)
    nothing = Packed.of([torch.zeros(1)])
    fit(head, task, torch.from_numpy(features), Batch(nothing, torch.zeros(1), torch.from_numpy(truth), None))
    ours = head.out(torch.from_numpy(features)).softmax(-1).detach().numpy()
    centred = features - features.mean(0)
    standard = centred / np.sqrt(np.square(centred).mean())
    penalty = PENALTY if classes > 2 else PENALTY / 2  # of two classes it has one vector, we have it and its opposite
    theirs = LogisticRegression(C=1 / penalty, max_iter=1000, tol=1e-8).fit(standard, truth).predict_proba(standard)
    assert np.allclose(ours, theirs, atol=1e-3)


def test_a_stopped_run_goes_on_to_the_same_bits(job, directory_of, command, tmp_path, monkeypatch):
    file, finished, _ = job
    words = ["train", file, "--valid", file, "--model", directory_of("bert"), "--out", tmp_path / "run", "--few-shot"]
    given = {name: value for name, value in RECIPE.items() if name != "few_shot"}
    words += [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    usual = loop.one_step

    def pressed(state, *rest):
        if state.step == 5:
            signal.raise_signal(signal.SIGINT)
        return usual(state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "one_step", pressed)
        assert command(*words)[0] == 130
    assert command(*words, "--resume")[0] == 0
    assert (tmp_path / "run/model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_it_is_suggested_where_rows_are_few(job, directory_of, films, table, tmp_path, command):
    how = ["--model", directory_of("bert"), "--epochs", "1", "--no-baselines"]
    _, _, said = command("train", job[0], "--valid", job[0], *how, "--out", tmp_path / "few")
    assert "few rows per class (4 as a rule): --few-shot may do better" in said
    many = table(tmp_path / "many.tsv", [(f"{text} {i}", label) for i in range(5) for text, label in films])
    _, _, said = command("train", many, "--valid", job[0], *how, "--out", tmp_path / "many")
    assert "--few-shot" not in said


def test_texts_with_several_labels_are_refused(directory_of, table, tmp_path):
    file = table(tmp_path / "several.tsv", [("a", "x|y"), ("b", "x"), ("c", "y"), ("d", "y")])
    with pytest.raises(InputError, match="few_shot is for text-classification with one label per text; leave it out"):
        headwise.train(file, file, model=str(directory_of("bert")), quiet=True, few_shot=True, label_separator="|")


def test_with_adapters_too(job, directory_of, films):
    model = headwise.train(job[0], job[0], model=str(directory_of("bert")), quiet=True, lora_rank=4, **RECIPE)
    assert [one["label"] for one in model.predict([text for text, _ in films])] == [label for _, label in films]


def test_the_head_is_fitted_before_the_first_step(job, directory_of, films):
    still = RECIPE | {"learning_rate": 1e-12, "epochs": 1.0, "eval_steps": 1, "patience": 0}
    model = headwise.train(job[0], job[0], model=str(directory_of("bert")), quiet=True, **still)
    first = next(one for one in model.report.history if "valid_loss" in one)
    assert first["valid_accuracy"] > 0.5  # of the model as it was


def test_rows_are_classified_and_compared():
    head, task = Head(HeadSpec(2), 4), TextClassification(("a", "b"))
    states = Packed.of([torch.randn(3, 4, generator=torch.Generator().manual_seed(0)) for _ in range(4)])
    batch = Batch(states, torch.zeros(12), torch.tensor([0, 1, 0, 1]), None)
    together = contrasted(head.eval(), task, states, batch)
    compared = contrast(head.features(states), batch.targets)
    assert torch.allclose(together, task.losses(head(states), batch) + 0.5 * compared) and compared.min() > 0


def test_the_last_weights_are_kept_where_rows_are_too_few_to_choose_by():
    few, plain = (Recipe.of(200, 384, few_shot=few) for few in (True, False))
    assert few.evaluate_every(200) == few.steps(200) and plain.evaluate_every(200) < plain.steps(200)
