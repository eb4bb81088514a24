"""Thresholds are those a search over every cut finds, and 0.5 where nothing speaks against it."""

import numpy as np
import pytest

from headwise.judging.metrics import score
from headwise.judging.thresholds import fitted


def f1(truth, given):
    return score(truth[:, None], given[:, None].astype(int), ["a"]).macro_f1


@pytest.mark.parametrize("seed", range(20))
def test_no_other_threshold_is_better(seed):
    random = np.random.default_rng(seed)
    truth = (random.random(60) < 0.2).astype(int)
    probabilities = (random.random(60) * 0.6 + 0.3 * truth).round(2)  # with ties
    (least,) = fitted(truth[:, None], probabilities[:, None])
    reached = f1(truth, probabilities >= least)
    others = [f1(truth, probabilities >= other) for other in np.linspace(0, 1, 1001)]
    assert reached == pytest.approx(max(others))


def test_half_stays_where_it_is_as_good_as_any():
    truth = np.array([[1, 0, 0, 0], [0, 0, 1, 1]])
    probabilities = np.array([[0.9, 0.2, 0.1, 0.2], [0.1, 0.7, 0.5, 0.3]], np.float32)
    half, unseen, exactly, low = fitted(truth, probabilities)
    assert (half, unseen, exactly) == (0.5, 0.5, 0.5)
    assert low == pytest.approx(0.25)


def test_probabilities_that_are_all_the_same_have_one_cut():
    assert fitted(np.array([[1], [0]]), np.zeros((2, 1))).tolist() == [0.0]
    assert fitted(np.array([[1], [0]]), np.full((2, 1), 0.8)).tolist() == [0.5]
