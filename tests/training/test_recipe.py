"""A recipe has defaults for every set and refuses what cannot be."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.training.recipe import Recipe


def test_defaults_follow_the_size_of_the_set_and_of_the_model():
    small, large = Recipe.of(350, 384), Recipe.of(70_000, 768)
    assert (small.batch_size, small.epochs, small.learning_rate) == (16, 20.0, 1e-4)
    assert (large.batch_size, large.epochs, large.learning_rate) == (32, 1.0, 3e-5)
    assert (small.dropout, large.dropout) == (None, 0.0)  # None: as the model's config has it
    assert Recipe.of(8, 1024).learning_rate == 2e-5
    assert small.steps(350) == 20 * 22 and small.evaluate_every(350) == 22
    assert large.evaluate_every(70_000) == 219  # ten times a run


def test_what_the_user_gave_is_kept_and_none_is_not_given():
    mine = Recipe.of(350, 384, batch_size=4, gradient_accumulation_steps=8, epochs=0.5, learning_rate=None)
    assert (mine.batch_size, mine.epochs, mine.learning_rate) == (4, 0.5, 1e-4)
    assert mine.steps_per_epoch(350) == 11
    assert mine.steps(350) == 6
    assert Recipe.of(8, 32, epochs=0.5).steps(8) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"dropout": 2.0}, "dropout is 2, expected 0 to 0.99"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, expected 0 to 10"),
        ({"learning_rate": -1e-5}, "learning_rate is -1e-05"),
        ({"batch_size": 0}, "batch_size is 0, expected 1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps is 0"),
        ({"adam_beta1": 1.0}, "adam_beta1 is 1"),
        ({"warmup_ratio": 1.5}, "warmup_ratio is 1.5, expected 0 to 1"),
        ({"optimizer": "foo"}, "optimizer is 'foo', expected adamw or sgd"),
        ({"lr_scheduler_type": "step"}, "lr_scheduler_type is 'step', expected linear or cosine or constant"),
        ({"seed": -1}, "seed is -1"),
        ({"momentun": 0.9}, "no option is called 'momentun'; did you mean momentum?"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(given, told):
    with pytest.raises(InputError, match=told):
        Recipe.of(100, 384, **given)


def test_every_hyperparameter_says_what_it_does():
    assert [one.name for one in fields(Recipe) if not one.metadata.get("help")] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epochs": "3"}, "epochs is '3', expected a number"),
        ({"batch_size": 8.5}, "batch_size is 8.5, expected a whole number"),
        ({"seed": True}, "seed is True, expected a whole number"),
        ({"epochs": 0}, "epochs is 0, expected 0.001 to 10000"),
    ],
)
def test_what_is_no_number_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        Recipe.of(100, 384, **given)


def test_numbers_of_numpy_are_numbers():
    assert Recipe.of(100, 384, batch_size=np.int64(8), learning_rate=np.float32(1e-3)).batch_size == 8
