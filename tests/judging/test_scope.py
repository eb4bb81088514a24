"""False alarms stay as rare as allowed, and what lies elsewhere is found."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from headwise.errors import InputError
from headwise.judging.scope import SCORES, Mahalanobis, detection, threshold


def test_false_alarms_are_as_rare_as_allowed():
    random = np.random.default_rng(0)
    rates = [(random.normal(size=2000) < threshold(random.normal(size=99), 0.05)).mean() for _ in range(300)]
    assert np.mean(rates) == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("name", SCORES)
def test_unsure_logits_score_lower(name):
    logits = np.array([[6.0, 0, 0], [1, 0.5, 0.8]])
    inside, outside = SCORES[name](logits)
    assert inside > outside


def test_mahalanobis_is_the_distance_to_the_nearest_mean():
    random = np.random.default_rng(1)
    truth = np.repeat([0, 1], 5000)
    stretch = np.array([[3.0, 0], [1, 1]])
    features = random.normal(size=(10_000, 2)) @ stretch + np.array([[0, 0], [20, 0]])[truth]
    score, points = Mahalanobis(features, truth), np.array([[0.0, 0], [20, 0], [10, 0], [0, 5]])
    inverse = np.linalg.inv(stretch.T @ stretch)
    theirs = -cdist(points, [[0, 0], [20, 0]], "mahalanobis", VI=inverse).min(1)
    assert score(points) == pytest.approx(theirs, abs=0.1)


def test_detection_by_hand():
    found = detection(np.array([0.9, 0.8, 0.3, 0.7]), np.array([0.1, 0.5]), 0.4)
    assert (found.auroc, found.recall, found.false_alarms) == (7 / 8, 1 / 2, 1 / 4)


def test_what_cannot_be():
    with pytest.raises(InputError, match=r"10 rows are too few.*give 19"):
        threshold(np.zeros(10), 0.05)
    with pytest.raises(InputError, match="between 0 and 1"):
        threshold(np.zeros(10), 5)
