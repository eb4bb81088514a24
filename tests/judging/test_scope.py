"""False alarms stay as rare as allowed, and what lies elsewhere is found."""

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.judging.scope import detection, energy, scope


def test_false_alarms_are_as_rare_as_allowed():
    random = np.random.default_rng(0)
    rates = [(random.normal(size=2000) < scope(random.normal(size=99), 0.05).threshold).mean() for _ in range(300)]
    assert np.mean(rates) == pytest.approx(0.05, abs=0.005)


def test_small_logits_have_little_energy_even_where_the_probabilities_are_the_same():
    inside, outside = energy(np.array([[6.0, 0, 0], [0, -6, -6]]))
    assert inside > outside
    assert outside == pytest.approx(np.log(1 + 2 * np.exp(-6)))


def test_detection_by_hand():
    found = detection(np.array([0.9, 0.8, 0.3, 0.7]), np.array([0.1, 0.5]), 0.4)
    assert (found.auroc, found.recall, found.false_alarms) == (7 / 8, 1 / 2, 1 / 4)


def test_what_cannot_be():
    with pytest.raises(InputError, match=r"10 rows are too few.*give 19"):
        scope(np.zeros(10), 0.05)
    with pytest.raises(InputError, match="between 0 and 1"):
        scope(np.zeros(10), 5)
