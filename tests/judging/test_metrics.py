"""Scores against numbers worked out by hand, and against scikit-learn."""

import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, multilabel_confusion_matrix

from headwise.errors import InputError
from headwise.judging.metrics import classification_report, confusion, score

LABELS = ["cat", "dog", "bird"]

# cat: 3 rows, 2 found; dog: 2 rows, both found, 1 wrongly given; bird: 1 row, found
TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 1, 2])

SETS = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
PREDICTED_SETS = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 1, 0]])


def test_single_label_scores():
    scores = score(TRUTH, PREDICTED, LABELS)
    assert scores.rows == 6
    assert scores.accuracy == scores.micro_f1 == pytest.approx(5 / 6)
    assert scores.per_class["cat"].precision == 1
    assert scores.per_class["cat"].recall == pytest.approx(2 / 3)
    assert scores.per_class["cat"].f1 == pytest.approx(4 / 5)
    assert scores.per_class["dog"].precision == pytest.approx(2 / 3)
    assert scores.per_class["dog"].f1 == pytest.approx(4 / 5)
    assert [scores.per_class[label].support for label in LABELS] == [3, 2, 1]
    assert scores.macro_f1 == pytest.approx((4 / 5 + 4 / 5 + 1) / 3)
    assert scores.weighted_f1 == pytest.approx((3 * 4 / 5 + 2 * 4 / 5 + 1) / 6)


def test_multi_label_scores():
    scores = score(SETS, PREDICTED_SETS, LABELS)
    assert scores.accuracy == pytest.approx(2 / 4)  # rows with exactly the right set
    assert [scores.per_class[label].f1 for label in LABELS] == pytest.approx([1, 4 / 5, 0])
    assert scores.macro_f1 == pytest.approx(3 / 5)
    assert scores.weighted_f1 == pytest.approx((2 * 1 + 2 * 4 / 5 + 1 * 0) / 5)
    assert scores.micro_f1 == pytest.approx(2 * 4 / (5 + 5))


def test_absent_class_counts_as_zero_in_the_macro_average():
    scores = score(TRUTH, PREDICTED, [*LABELS, "fish"])
    assert scores.per_class["fish"].f1 == 0
    assert scores.per_class["fish"].support == 0
    assert scores.macro_f1 == pytest.approx((4 / 5 + 4 / 5 + 1 + 0) / 4)
    assert scores.weighted_f1 == score(TRUTH, PREDICTED, LABELS).weighted_f1


def test_no_label_at_all_scores_zero():
    nothing = np.zeros((2, 3), dtype=int)
    scores = score(nothing, nothing, LABELS)
    assert scores.accuracy == 1
    assert scores.macro_f1 == scores.weighted_f1 == scores.micro_f1 == 0


@pytest.mark.parametrize("shape", [500, (500, 7)])
@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
def test_averages_agree_with_scikit_learn(shape, average):
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, 2 if isinstance(shape, tuple) else 7, (2, *np.atleast_1d(shape)))
    scores = score(truth, predicted, [str(number) for number in range(7)])
    assert scores.named(f"{average}_f1") == pytest.approx(f1_score(truth, predicted, average=average))


def test_confusion_agrees_with_scikit_learn():
    assert (confusion(TRUTH, PREDICTED, 4) == confusion_matrix(TRUTH, PREDICTED, labels=range(4))).all()
    assert (confusion(SETS, PREDICTED_SETS, 3) == multilabel_confusion_matrix(SETS, PREDICTED_SETS)).all()


def test_named_metric_and_its_error():
    scores = score(TRUTH, PREDICTED, LABELS)
    assert scores.named("macro_f1") == scores.macro_f1
    with pytest.raises(InputError, match=r"'f1'.*'accuracy', 'macro_f1', 'weighted_f1', 'micro_f1'"):
        scores.named("f1")


def test_scores_are_plain_json():
    written = json.loads(json.dumps(score(SETS, PREDICTED_SETS, LABELS).as_dict()))
    assert written["per_class"]["bird"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert written["rows"] == 4


def test_what_cannot_be_scored():
    with pytest.raises(InputError, match="no rows"):
        score(TRUTH[:0], PREDICTED[:0], LABELS)
    with pytest.raises(ValueError, match=r"\(6,\).*\(5,\)"):
        score(TRUTH, PREDICTED[:5], LABELS)


def test_classification_report_lists_every_label():
    assert classification_report(TRUTH, PREDICTED, ["cat", "dog", "鸟", "fish"]).split("\n") == [
        "              precision    recall  f1-score   support",
        "",
        "         cat      1.000     0.667     0.800         3",
        "         dog      0.667     1.000     0.800         2",
        "           鸟      1.000     1.000     1.000         1",
        "        fish      0.000     0.000     0.000         0",
        "",
        "    accuracy                          0.833         6",
        "   macro avg      0.667     0.667     0.650         6",
        "weighted avg      0.889     0.833     0.833         6",
        "",
    ]


def test_classification_report_of_sets():
    lines = classification_report(SETS, PREDICTED_SETS, LABELS, digits=2).split("\n")
    assert lines[2].split() == ["cat", "1.00", "1.00", "1.00", "2"]
    assert [line.split()[0] for line in lines[6:10]] == ["micro", "macro", "weighted", "samples"]


def test_classification_report_of_a_single_class_of_a_set():
    lines = classification_report(SETS[:, 1:2], PREDICTED_SETS[:, 1:2], ["dog"], digits=2).split("\n")
    assert lines[2].split() == ["dog", "0.67", "1.00", "0.80", "2"]
