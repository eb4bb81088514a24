"""A rule keeps its promise on rows it has not seen, and says so where nothing can be promised."""

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.judging.selective import rule, selection


def rows(count, seed):
    """Confidences that are right as often as they say, and whether each answer is wrong."""
    random = np.random.default_rng(seed)
    confidence = 1 - random.random(count) ** 3 / 2
    return confidence, random.random(count) > confidence


UNSEEN = rows(400_000, 0)


def test_the_error_stays_within_its_bound_nineteen_times_in_twenty():
    kept, coverage = 0, []
    for seed in range(1, 301):
        found = rule(*rows(2000, seed), most_error=0.05)
        done = selection(UNSEEN[0] > found.threshold, UNSEEN[1])
        kept += done.error <= 0.05
        coverage.append(done.coverage)
    assert kept >= 285
    assert np.mean(coverage) > 0.6  # all it could answer at 5 %: about 0.74


def test_an_easy_task_is_answered_throughout():
    found = rule(np.linspace(0.5, 1, 500), np.zeros(500, bool), 0.02)
    assert (found.threshold, found.answered, found.wrong) == (0, 500, 0)
    assert found.bound == pytest.approx(1 - 0.005 ** (1 / 500))  # no mistake in 500, by hand


def test_equal_confidences_stay_together():
    confidence = np.repeat([0.9, 0.6], [550, 450])
    found = rule(confidence, confidence == 0.6, 0.02)
    assert (found.threshold, found.answered) == (0.6, 550)


def test_what_cannot_be_promised():
    with pytest.raises(InputError, match=r"2\.00% on these 100 rows.*5\.16%.*263 answered"):
        rule(np.linspace(0.5, 1, 100), np.zeros(100, bool), 0.02)
    with pytest.raises(InputError, match="between 0 and 1"):
        rule(*rows(10, 0), most_error=2)


def test_nothing_answered_is_no_error():
    nothing = selection(np.zeros(3, bool), np.ones(3, bool))
    assert (nothing.coverage, nothing.error) == (0, 0)
