"""Heads that matter are found, and the model they are sought in stays as it was."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from headwise.core import spec
from headwise.core.transformer import HeadedEncoder, initialise
from headwise.insight.ablation import Judge, as_figure, as_text, head_importance, pruning_curve
from headwise.reading.batches import Examples
from headwise.reading.text import Tokens
from headwise.tasks.text_classification import TextClassification
from headwise.training.inference import predicted

TASK = TextClassification(("a", "b", "c"))
IMPORTANT = (1, 2)


@pytest.fixture(scope="module")
def examples():
    """60 rows of 3 to 9 tokens."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 10, 60)
    ids = generator.integers(0, 50, lengths.sum()).astype(np.int32)
    tokens = Tokens(ids, np.zeros_like(ids, np.int8), lengths, np.zeros_like(lengths), None)
    classes = generator.integers(0, 3, 60)
    return Examples(tokens, classes, classes)


@pytest.fixture(scope="module")
def planted(examples):
    """A model whose heads do nothing but one, and rows whose labels are its answers: that head is all there is."""
    attention = spec.Attention(n_heads=4, n_kv_heads=4, d_head=8)
    block = spec.Block(attention, feed_forward=spec.FeedForward(32, "gelu"), norm=spec.Norm())
    embeddings = spec.Embeddings(50, 32, 1.0, "learned", 16)
    model = HeadedEncoder(spec.Stack(32, embeddings, (block,) * 3), spec.Head(3))
    initialise(model, torch.Generator().manual_seed(0), 0.5)
    with torch.no_grad():
        for layer, part in enumerate(model.encoder.blocks):
            weight = part.attention.layer.out.weight.view(32, 4, 8)
            for head in range(4):
                weight[:, head] *= 3.0 if (layer, head) == IMPORTANT else 0.01
    answers = predicted(model, TASK, examples)[0].argmax(1).numpy()
    return model, Examples(examples.tokens, answers, answers)


def test_the_planted_head_is_found_and_the_model_stays_whole(planted):
    model, examples = planted
    before, seen = copy.deepcopy(model.state_dict()), []
    heads = head_importance(model, TASK, examples, lambda rows, total: seen.append((rows, total)))
    assert heads.order[-1] == IMPORTANT and heads.loss_rise.shape == heads.score_drop.shape == (3, 4)
    assert heads.score == 1.0 and heads.score_drop[IMPORTANT] > 0.2 > np.sort(heads.score_drop.ravel())[-2]
    assert seen[-1] == (13 * 60, 13 * 60) and seen == sorted(seen)
    pruning = pruning_curve(model, TASK, examples, heads.order)
    assert pruning.removed.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 10, 11]
    assert pruning.loss[0] == pytest.approx(heads.loss) and pruning.score[0] == 1.0
    assert pruning.score.min() > 0.8  # the head that matters goes last
    assert pruning_curve(model, TASK, examples, heads.order[::-1]).score[1] < 0.8
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in before.items())


def test_a_head_taken_away_says_nothing(planted):
    """Taking a head away by its output columns is the same as its values being 0; afterwards it is back."""
    model, examples = planted
    judge = Judge(model, TASK, examples)
    whole, found = judge.without([]), judge.without([IMPORTANT, (1, 0), (0, 3)])
    silent = copy.deepcopy(model)
    for layer, head in (IMPORTANT, (1, 0), (0, 3)):
        value = silent.encoder.blocks[layer].attention.layer.value
        value.weight.data.view(4, 8, 32)[head] = 0
        value.bias.data.view(4, 8)[head] = 0
    loss = predicted(silent, TASK, examples)[1]
    assert found[0] == pytest.approx(loss, abs=1e-6)
    assert judge.without([]) == whole


def test_what_is_told(planted):
    model, examples = planted
    heads = head_importance(model, TASK, examples)
    pruning = pruning_curve(model, TASK, examples, heads.order, (0.0, 0.5))
    lines = as_text(heads, pruning, most=1).splitlines()
    assert (
        "accuracy 1.0000" in lines[0] and lines[3].split()[:2] == ["1", "2"] and lines[-1].split()[:2] == ["6", "50%"]
    )
    told = json.loads(json.dumps([heads.as_dict(), pruning.as_dict()]))
    assert told[0]["order"][-1] == list(IMPORTANT) and told[1]["removed"] == [0, 6]
    assert len(as_figure(heads, pruning).axes) == 3
