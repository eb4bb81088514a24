"""Training above frozen layers must be training with their weights held still, computed once or at each step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.families.checkpoint import read_model
from headwise.reading.text import TextTokenizer
from headwise.tasks.text_classification import TextClassification
from headwise.training import frozen as module
from headwise.training.frozen import Kept, frozen
from headwise.training.inference import predicted
from headwise.training.loop import State, training
from headwise.training.optimizers import learning, optimizer
from headwise.training.recipe import Recipe
from headwise.training.vocabulary import vocabulary_in_use

TASK = TextClassification(("bad", "good"))
LAYERS = 1
RECIPE = Recipe(learning_rate=3e-3, epochs=4, batch_size=4, dropout=0, eval_steps=2, patience=0, frozen_layers=LAYERS)


@pytest.fixture
def parts(directory_of, films):
    """Rows to train on and rows to validate on."""
    tokenizer = TextTokenizer.read(directory_of("bert"), 40)
    targets = np.array([TASK.labels.index(label) for _, label in films])
    train = TASK.examples(tokenizer, [text for text, _ in films[:5]], targets[:5])
    return train, TASK.examples(tokenizer, [text for text, _ in films[3:]], targets[3:])


def fresh(directory_of):
    return read_model(directory_of("bert"), 2, dropout=0.0).model


def run(model, train, valid):
    state = State(model, optimizer(model, RECIPE))
    list(training(state, TASK, train, valid, RECIPE))
    return state


@pytest.fixture
def plain(parts, directory_of):
    """The usual way: all layers at each step, the lowest ones without gradients."""
    model = fresh(directory_of)
    for part in (model.encoder.embeddings, *model.encoder.blocks[:LAYERS]):
        part.requires_grad_(False)
    return model, run(model, *parts)


@pytest.mark.parametrize("most", [module.MOST_KEPT, 0], ids=["kept", "at each step"])
def test_the_same_model_comes_out(most, plain, parts, directory_of, monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", most)
    expected, slow = plain
    model = fresh(directory_of)
    names, before = list(model.state_dict()), {name: one.clone() for name, one in model.state_dict().items()}
    with vocabulary_in_use(model, *parts) as some, frozen(model, RECIPE, *some) as some:
        assert isinstance(model.encoder.embeddings, Kept) == (most > 0)
        assert not [name for name in learning(model) if "embeddings" in name or "blocks.0" in name]
        fast = run(model, *some)
        model.load_state_dict(fast.best, strict=False)
    assert list(model.state_dict()) == names and len(learning(model)) == len(names)
    assert fast.losses == pytest.approx(slow.losses, abs=1e-5)
    expected.load_state_dict(slow.best, strict=False)
    for name, weight in expected.state_dict().items():
        ours = model.state_dict()[name]
        assert torch.allclose(ours, weight, atol=1e-5), name
        rests = "embeddings" in name or "blocks.0" in name
        assert torch.equal(ours, before[name]) == rests, name


def test_in_bfloat16_what_is_kept_is_rounded(parts, directory_of):
    model, half = fresh(directory_of), Recipe(precision="bfloat16", frozen_layers=LAYERS)
    expected, _ = predicted(model, TASK, parts[1], precision="bfloat16")
    with frozen(model, half, parts[1]) as (valid,):
        assert model.encoder.embeddings.states[0].dtype == torch.bfloat16
        found, _ = predicted(model, TASK, valid, precision="bfloat16")
    assert torch.allclose(found, expected, atol=0.02)


def test_the_model_is_whole_again_after_a_failure(parts, directory_of):
    model = fresh(directory_of)
    before, _ = predicted(model, TASK, parts[1])
    with pytest.raises(KeyboardInterrupt), frozen(model, RECIPE, *parts) as (_, valid):
        assert torch.allclose(predicted(model, TASK, valid)[0], before, atol=1e-6)
        raise KeyboardInterrupt
    assert torch.equal(predicted(model, TASK, parts[1])[0], before)


def test_a_run_says_what_rests_and_leaves_it_as_it_was(directory_of, films, table, tmp_path, capsys):
    file = table(tmp_path / "films.tsv", films)
    how = {"model": str(directory_of("bert")), "epochs": 2.0, "batch_size": 4, "with_baselines": False}
    model = headwise.train(file, file, out=tmp_path / "run", frozen_layers=1, lora_rank=2, **how)
    assert "the embeddings and 1 of 2 blocks rest" in capsys.readouterr().err.replace("\n", " ")
    before, after = (read_model(place, 2).model.state_dict() for place in (directory_of("bert"), tmp_path / "run"))
    changed = {name for name in after if ".blocks." in name and not torch.equal(after[name], before[name])}
    assert changed and all(".blocks.1." in name for name in changed)
    assert headwise.load(tmp_path / "run").predict(["a film"]) == model.predict(["a film"])


def test_more_layers_than_there_are_are_refused(directory_of, films, table, tmp_path):
    file = table(tmp_path / "films.tsv", films)
    with pytest.raises(InputError, match="frozen_layers is 5, expected at most 2"):
        headwise.train(file, file, model=str(directory_of("bert")), frozen_layers=5, quiet=True)
