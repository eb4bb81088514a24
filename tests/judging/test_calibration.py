"""A temperature finds what logits were multiplied by, changes no answer, and lowers the error of calibration."""

import json

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import brier_score_loss

from headwise.judging.calibration import BINS, Calibrated, calibration, reliability, temperature

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 2, (20_000, 4))
TRUTH = (softmax(LOGITS, axis=1).cumsum(1) < RANDOM.random((20_000, 1))).sum(1)
SETS = (RANDOM.random(LOGITS.shape) < expit(LOGITS)).astype(int)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("truth", [TRUTH, SETS], ids=["one", "several"])
def test_the_temperature_is_what_the_logits_were_multiplied_by(truth, factor):
    assert temperature(LOGITS * factor, truth) == pytest.approx(factor, rel=0.05)


def test_it_lowers_the_error_of_calibration():
    before, after = (calibration(softmax(LOGITS * 3 / t, axis=1), TRUTH) for t in (1, temperature(LOGITS * 3, TRUTH)))
    assert before.ece > 0.1 > 0.02 > after.ece
    assert after.brier < before.brier


def test_rows_without_a_mistake_say_nothing():
    assert temperature(LOGITS, LOGITS.argmax(1)) == 1
    assert temperature(LOGITS, (LOGITS > 0).astype(int)) == 1


def test_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.45, 0.55]])
    found = calibration(probabilities, np.array([0, 1, 1, 1]))
    assert [(one.rows, one.right) for one in found.bins] == [(1, 1), (1, 1), (2, 0.5)]
    assert found.ece == pytest.approx((0.45 + 0.3 + 2 * 0.4) / 4)
    assert found.brier == pytest.approx((2 * 0.01 + 2 * 0.81 + 2 * 0.09 + 2 * 0.2025) / 4)
    json.dumps(Calibrated(1.0, found, found).as_dict())


def test_several_labels_count_each_by_itself():
    probabilities = expit(LOGITS)
    found = calibration(probabilities, SETS)
    assert found.brier == pytest.approx(brier_score_loss(SETS.ravel(), probabilities.ravel()))
    assert sum(one.rows for one in found.bins) == SETS.size
    assert found.ece < 0.02


def test_bins_hold_their_upper_end():
    bins = reliability(np.array([0.0, 1.0, 1 / BINS]), np.array([0, 1, 1]))
    assert [one.rows for one in bins] == [2, 1]


def test_a_temperature_at_its_limit_is_remarked_on():
    one = calibration(np.array([[0.9, 0.1]]), np.array([0]))
    assert "as far as it goes" in str(Calibrated(19.99, one, one)) and "as far" not in str(Calibrated(2.0, one, one))
