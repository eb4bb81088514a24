"""Intervals hold the truth as often as they say, and are there in no time."""

import time

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from headwise.judging.intervals import class_intervals, intervals, redrawn, resampled, share
from headwise.judging.metrics import score


def answers(rows, classes, right, seed):
    """Truth, and predictions of which so large a share is right."""
    random = np.random.default_rng(seed)
    truth, other = random.integers(0, classes, (2, rows))
    return truth, np.where(random.random(rows) < right, truth, other)


def test_drawing_kinds_is_drawing_rows():
    truth, predicted = answers(400, 5, 0.8, 0)
    ours = intervals(truth, predicted, 5)
    plain = redrawn(
        lambda rows: {
            "accuracy": accuracy_score(truth[rows], predicted[rows]),
            "macro_f1": f1_score(truth[rows], predicted[rows], average="macro"),
        },
        400,
        draws=500,
    )
    for name, one in plain.items():
        assert (ours[name].low, ours[name].high) == pytest.approx(tuple(np.quantile(one, [0.025, 0.975])), abs=0.01)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_an_interval_holds_the_truth_nineteen_times_in_twenty(metric):
    truth, predicted = answers(200_000, 4, 0.7, 1)
    all_rows = score(truth, predicted, "abcd").named(metric)
    held = 0
    for start in range(0, 200_000, 500):
        found = intervals(truth[start : start + 500], predicted[start : start + 500], 4, seed=start)[metric]
        held += found.low <= all_rows <= found.high
    assert 0.92 <= held / 400 <= 0.98


@pytest.mark.parametrize("classes", [3, 77])
def test_ten_thousand_rows_take_less_than_two_seconds(classes):
    truth, predicted = answers(10_000, classes, 0.9, 2)
    began = time.process_time()
    intervals(truth, predicted, classes)
    assert time.process_time() - began < 2


def test_sets_of_labels():
    random = np.random.default_rng(3)
    truth = random.integers(0, 2, (300, 4))
    predicted = np.where(random.random((300, 4)) < 0.9, truth, 1 - truth)
    scores, found = score(truth, predicted, "abcd"), intervals(truth, predicted, 4)
    for metric, one in found.items():
        assert one.low < scores.named(metric) < one.high


def test_no_mistake_is_no_certainty():
    truth = np.array([0, 1] * 10)
    for one in intervals(truth, truth, 2).values():
        assert one.low == pytest.approx(0.839, abs=1e-3)  # Wilson's for 20 of 20
        assert one.high == 1
    for one in class_intervals(truth, truth, 2):
        assert one.recall.low == pytest.approx(0.722, abs=1e-3)  # of 10 of 10
        assert one.f1.low == pytest.approx(2 * 0.722 / 1.722, abs=1e-3)


def test_an_interval_holds_its_own_score_where_no_row_is_right_or_a_class_is_missing():
    truth = np.random.default_rng(0).integers(0, 2, (60, 20))
    predicted = truth.copy()
    predicted[np.arange(60), np.arange(60) % 20] ^= 1  # one label of each row is wrong
    rows = np.array([0, 1] * 10)
    for given, answers, classes in ((truth, predicted, 20), (rows, rows, 4), (rows, 1 - rows, 2)):
        scores = score(given, answers, [str(at) for at in range(classes)])
        for metric, one in intervals(given, answers, classes).items():
            assert one.low <= scores.named(metric) <= one.high and one.low < one.high, metric


def test_a_class_without_rows_is_unknown():
    unseen = class_intervals(np.array([0, 0]), np.array([0, 0]), 2)[1]
    assert (unseen.f1.low, unseen.f1.high) == (0, 1)


def test_wilson():
    assert (share(8, 10).low, share(8, 10).high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_draws_follow_the_seed_and_are_shared_between_answers():
    truth, predicted = answers(100, 3, 0.8, 4)
    first, second = resampled(truth, predicted, predicted, classes=3)
    assert (first.metrics["accuracy"] == second.metrics["accuracy"]).all()
    assert intervals(truth, predicted, 3, seed=1) == intervals(truth, predicted, 3, seed=1)
    assert intervals(truth, predicted, 3, seed=1) != intervals(truth, predicted, 3, seed=2)
