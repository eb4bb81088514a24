"""Better, worse or cannot tell: said where it is so, and by chance hardly ever."""

import json

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.judging.comparison import holm, mcnemar
from headwise.reading.answers import Answer
from headwise.tasks.feature_extraction import FeatureExtraction
from headwise.tasks.question_answering import QuestionAnswering, column_of
from headwise.tasks.regression import Regression
from headwise.tasks.text_classification import TextClassification
from headwise.tasks.token_classification import TokenClassification, tuples

LABELS = ("a", "b", "c")


def compare(truth, first, second, labels):
    """As a classifier of these labels does."""
    return TextClassification(labels, truth.ndim == 2).compared(truth, first, second)


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
        found = compare(truth, answers(truth, 0.7, 1000 + seed), answers(truth, 0.7, 5000 + seed), LABELS)
        accuracy += found.named("accuracy").verdict != "cannot tell"
        macro += found.named("macro_f1").verdict != "cannot tell"
        classes += any(one.verdict != "cannot tell" for one in found.classes)
    assert accuracy <= 20 and macro <= 20 and classes <= 20  # 10 expected


def test_only_the_class_that_changed_is_told():
    first = answers(TRUTH, 0.7, 1)
    second = np.where(TRUTH == 0, 0, first)
    verdicts = [one.verdict for one in compare(TRUTH, first, second, LABELS).classes]
    assert verdicts[0] == "better"


def test_a_class_is_told_only_where_its_errors_and_its_f1_agree():
    truth = np.repeat([0, 1], [900, 100])
    never, often = np.zeros(1000, int), np.zeros(1000, int)
    often[[*range(100, 300), *range(900, 910)]] = 1  # ten of the class found, and 200 rows more taken for it
    found = {one.name: one for one in compare(truth, never, often, ("a", "b")).classes}
    assert found["b"].p < 0.001 and found["b"].difference > 0.05 and found["b"].interval.low > 0
    assert found["b"].verdict == "cannot tell" and found["a"].verdict == "worse"


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


def test_tags_entities_and_their_types():
    task = TokenClassification(("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
    truth = tuples([[1, 2, 0, 3]] * 200)
    poor = tuples([[1, 2, 0, 0 if row % 3 else 3] for row in range(200)])
    found = task.compared(truth, poor, truth)
    assert found.metric == "f1" and found.only_first is None
    assert {one.name: one.verdict for one in found.classes} == {"LOC": "cannot tell", "PER": "better"}
    assert {one.verdict for one in found.metrics} == {"better", "cannot tell"}  # precision is 1 in both
    assert task.drawn(truth, poor)[0].metrics["f1"].mean() == pytest.approx(task.scored(truth, poor).f1, abs=0.01)


def test_numbers_answers_and_rankings_by_their_own_metrics():
    random = np.random.default_rng(0)
    truth = random.normal(size=300)
    poor, good = truth + random.normal(size=300), truth + 0.3 * random.normal(size=300)
    found = Regression(("stars",)).compared(truth, poor, good)
    assert {one.name: one.verdict for one in found.metrics} == dict.fromkeys(
        ("pearson", "spearman", "r2", "mae"), "better"
    )
    assert found.named("mae").difference < 0 and "mean absolute error" in found.as_text("A", "B")
    right = column_of([(Answer("red wine", 0),)] * 60)
    wrong = column_of([(Answer("white wine", 0),)] * 30 + [()] * 30)
    assert {one.verdict for one in QuestionAnswering().compared(right, right, wrong).metrics} == {"worse"}
    pairs = np.stack([np.ones(50), 100 + np.arange(50.0), np.arange(50.0)], 1)
    near = np.full((50, 11), -1.0)
    near[:, 1] = np.arange(50)
    far = near.copy()
    far[::2, 1:3] = np.stack([np.full(25, 99), np.arange(0, 50, 2)], 1)
    verdicts = {one.name: one.verdict for one in FeatureExtraction().compared(pairs, far, near).metrics}
    assert verdicts["mrr"] == "better" and verdicts["recall_at_10"] == "cannot tell"


def test_what_cannot_be_compared_is_refused():
    tagger, number = TokenClassification(("O", "B-LOC", "I-LOC")), Regression(("stars",))
    with pytest.raises(InputError, match="the first is one of token-classification, the second of regression"):
        tagger.refuse_other(number)
    with pytest.raises(InputError, match="'PER' is a type of one only"):
        tagger.refuse_other(TokenClassification(("O", "B-LOC", "I-LOC", "B-PER", "I-PER")))
    with pytest.raises(InputError, match="the first was trained on labels, the second on pairs"):
        FeatureExtraction(relation="labels").refuse_other(FeatureExtraction())
    with pytest.raises(InputError, match="one gives one label a text, the other several"):
        TextClassification(LABELS).refuse_other(TextClassification(LABELS, True))
