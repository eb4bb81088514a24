"""Better, worse or cannot tell: said where it is so, and by chance hardly ever."""

import json

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.judging.comparison import compare, holm, mcnemar

LABELS = ("a", "b", "c")


def answers(truth, right, seed):
    """Predictions of which about so large a share is right."""
    random = np.random.default_rng(seed)
    return np.where(random.random(len(truth)) < right, truth, random.integers(0, 3, len(truth)))


TRUTH = np.random.default_rng(0).integers(0, 3, 1000)


def test_a_better_model_is_better_and_the_other_one_worse():
    poor, good = answers(TRUTH, 0.7, 1), answers(TRUTH, 0.9, 2)
    found, turned = compare(TRUTH, poor, good, LABELS), compare(TRUTH, good, poor, LABELS)
    assert {one.verdict for one in found.metrics + found.classes} == {"better"}
    assert {one.verdict for one in turned.metrics} == {"worse"}
    assert found.named("accuracy").difference == pytest.approx(-turned.named("accuracy").difference)
    assert found.only_second == turned.only_first == ((good == TRUTH) & (poor != TRUTH)).sum()


def test_the_same_answers_cannot_be_told_apart():
    same = answers(TRUTH, 0.8, 1)
    found = compare(TRUTH, same, same, LABELS)
    assert {one.verdict for one in found.metrics + found.classes} == {"cannot tell"}
    assert found.named("accuracy").p == 1


def test_a_difference_by_chance_is_seldom_called_one():
    accuracy = macro = classes = 0
    for seed in range(200):
        truth = np.random.default_rng(seed).integers(0, 3, 200)
        found = compare(truth, answers(truth, 0.7, 1000 + seed), answers(truth, 0.7, 5000 + seed), LABELS, seed)
        accuracy += found.named("accuracy").verdict != "cannot tell"
        macro += found.named("macro_f1").verdict != "cannot tell"
        classes += any(one.verdict != "cannot tell" for one in found.classes)
    assert accuracy <= 20 and macro <= 20 and classes <= 20  # 10 expected


def test_only_the_class_that_changed_is_told():
    first = answers(TRUTH, 0.7, 1)
    second = np.where(TRUTH == 0, 0, first)
    verdicts = [one.verdict for one in compare(TRUTH, first, second, LABELS).classes]
    assert verdicts[0] == "better"


def test_sets_of_labels():
    truth = np.random.default_rng(1).integers(0, 2, (400, 2))
    second = truth.copy()
    second[:100, 1] = 1 - second[:100, 1]
    found = compare(truth, truth, second, ("a", "b"))
    assert [one.verdict for one in found.classes] == ["cannot tell", "worse"]
    assert found.only_first == 100


def test_mcnemar_by_hand():
    # 5 rows all one way: 2 / 2⁵ two-sided, less half of its own chance on each side
    assert mcnemar(np.array([0, 3, 0]), np.array([5, 3, 0])) == pytest.approx([1 / 32, 1, 1])


def test_holm_by_hand():
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])


def test_plain_json_and_no_rows():
    assert json.loads(json.dumps(compare(TRUTH, TRUTH, TRUTH, LABELS).as_dict()))["rows"] == 1000
    with pytest.raises(InputError, match="no rows"):
        compare(TRUTH[:0], TRUTH[:0], TRUTH[:0], LABELS)
