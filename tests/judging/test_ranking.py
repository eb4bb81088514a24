"""Rankings: metrics against scikit-learn and by hand, numbers of texts, calibration."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from headwise.errors import InputError
from headwise.judging import ranking
from headwise.judging.ranking import Duels, PlattScaling


def unit(rows, width=8, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def truth_of(first, second, values=None):
    return np.stack([np.ones(len(first)) if values is None else values, *map(ranking.numbers, (first, second))], axis=1)


def test_a_text_has_the_same_number_everywhere_and_no_other_text_has_it():
    assert ranking.numbers(["a", "b", "a"]).tolist() == [ranking.numbers(["a"])[0], *ranking.numbers(["b", "a"])]
    many = ranking.numbers(map(str, range(20_000)))
    assert len(np.unique(many)) == 20_000 and (many == many.astype(np.int64)).all()


def test_metrics_by_hand():
    truth = truth_of("abc", "xyz")
    x, y, z = truth[:, 2]
    answers = np.full((3, 11), -1.0)
    answers[:, 1:4] = [[x, y, z], [z, y, x], [x, y, -1]]  # found first, second, never
    scores = ranking.score(truth, answers, "pairs").as_dict()
    assert scores["mrr"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert scores["ndcg"] == pytest.approx((1 + 1 / np.log2(3) + 0) / 3)
    assert (scores["recall_at_1"], scores["recall_at_10"]) == pytest.approx((1 / 3, 2 / 3))
    assert scores["rows"] == 3


def test_ndcg_is_that_of_scikit_learn_with_several_right_texts():
    first, second = [f"q{i // 3}" for i in range(60)], [f"d{i}" for i in range(60)]
    vectors, documents = unit(20).repeat(3, axis=0), unit(60, seed=1)
    truth = truth_of(first, second)
    scores = ranking.score(truth, ranking.answered(vectors, documents, truth[:, 1:]), "pairs")
    relevance = np.array([[one == f"q{i}" for one in first] for i in range(20)])
    assert scores.named("ndcg") == pytest.approx(ndcg_score(relevance, vectors[::3] @ documents.T, k=10), abs=1e-6)
    top = np.argsort(-vectors[::3] @ documents.T, axis=1)[:, :10]
    found = np.take_along_axis(relevance, top, 1)
    assert scores.named("recall_at_10") == pytest.approx(found.sum(1).mean() / 3)


def test_the_same_text_twice_is_one_to_be_found():
    truth = truth_of(["a", "b", "c"], ["x", "x", "y"])
    vectors = np.eye(3, dtype=np.float32)
    answers = ranking.answered(vectors, vectors[[0, 0, 2]], truth[:, 1:])
    assert sorted(answers[1, 1:3]) == sorted(truth[[0, 2], 2]) and (answers[:, 3:] == -1).all()


def test_a_text_is_no_answer_to_itself():
    """Where texts stand in both columns, as paraphrases do, each is nearest to itself."""
    truth, vectors = truth_of("abcd", "bcdd"), unit(4)
    first, second = vectors, vectors[[1, 2, 3, 3]] * 0.5 + vectors[[0, 1, 2, 3]] * 0.5
    numbers = truth[:, 1:]
    answers = ranking.answered(first, second, numbers)
    assert not (answers[:, 1:] == truth[:, 1:2]).any()
    assert ranking.score(truth, answers, "pairs").named("recall_at_10") == 1.0
    found = ranking.duels(first, second, truth)
    assert sorted(found.rows) == [0, 1, 2], "that d belongs to d is nothing to be found"
    assert all(truth[found.opponents, 2] != truth[found.rows, 1])


def test_rows_that_do_not_belong_together_are_no_questions():
    truth = truth_of(["a", "b"], ["x", "y"], [1, 0])
    vectors = np.eye(2, dtype=np.float32)
    scores = ranking.score(truth, ranking.answered(vectors, vectors, truth[:, 1:]), "labels")
    assert scores.named("mrr") == 1.0
    one_class = ranking.score(truth[:1], ranking.answered(vectors[:1], vectors[:1], truth[:1, 1:]), "labels")
    assert one_class.named("auroc") == 0.0


def test_correlations_with_equal_values():
    values, cosines = np.array([1, 2, 2, 3, 5.0]), np.array([0.1, 0.3, 0.2, 0.2, 0.9])
    truth = np.stack([values, values, values], axis=1)
    scores = ranking.score(truth, cosines[:, None], "scores")
    by_hand = np.corrcoef([1, 2.5, 2.5, 4, 5], [1, 4, 2.5, 2.5, 5])[0, 1]
    assert scores.named("spearman") == pytest.approx(by_hand)
    assert scores.named("pearson") == pytest.approx(np.corrcoef(values, cosines)[0, 1])
    assert ranking.score(truth, np.zeros((5, 1)), "scores").named("spearman") == 0.0
    with pytest.raises(InputError, match="there is no metric 'mrr'; choose one of 'spearman'"):
        scores.named("mrr")


def test_right_against_the_nearest_wrong():
    truth = truth_of(["a", "a", "b"], ["x", "y", "z"])
    vectors = unit(3)
    first, second = vectors[[0, 0, 1]], vectors[[0, 2, 1]]
    found = ranking.duels(first, second, truth)
    order = np.argsort(found.rows)
    assert found.rows[order].tolist() == [0, 2]
    assert found.right[order] == pytest.approx([1, 1], abs=1e-6)
    assert found.wrong[order] == pytest.approx([first[0] @ second[2], max(first[2] @ second[0], first[2] @ second[1])])
    assert found.won.all()


def test_the_chance_of_being_right_is_what_it_says():
    random = np.random.default_rng(0)

    def drawn(count):
        wrong, right = random.normal(0.5, 0.1, count), random.normal(0.7, 0.1, count)
        return Duels(np.arange(count), right, wrong, np.arange(count))

    calibration, others = PlattScaling.of(drawn(2000)), drawn(20_000)
    best = np.concatenate([np.maximum(others.right, others.wrong), others.wrong])
    right = np.concatenate([others.won, np.zeros(20_000, bool)])
    chance = calibration.probabilities(best)
    for low in (0.2, 0.4, 0.6, 0.8):
        some = (chance >= low) & (chance < low + 0.2)
        assert chance[some].mean() == pytest.approx(right[some].mean(), abs=0.06)


def test_without_a_right_answer_there_is_nothing_to_calibrate():
    nothing = np.zeros(3)
    assert PlattScaling.of(Duels(np.arange(3), nothing, nothing + 1, np.arange(3))) is None
    assert PlattScaling.of(Duels(np.arange(0), nothing[:0], nothing[:0], np.arange(0))) is None


def test_tfidf_finds_what_shares_words_in_english_and_in_chinese():
    pairs = [("where is my card", "your card is on its way"), ("how do i pay", "you pay in the app")]
    answers = ranking.tfidf(pairs, pairs)
    assert ranking.score(truth_of(*zip(*pairs, strict=True)), answers, "pairs").named("mrr") == 1.0
    chinese = [("花呗怎么还款", "还款在花呗里点"), ("借呗额度多少", "额度看借呗首页")]
    answers = ranking.tfidf(chinese, chinese)
    assert ranking.score(truth_of(*zip(*chinese, strict=True)), answers, "pairs").named("mrr") == 1.0


def test_intervals_draw_questions_not_rows():
    """A question's rows stand and fall together: with 100 of them, a share of a half lies within about 0.1."""
    first = [f"q{i // 3}" for i in range(300)]
    truth = truth_of(first, [f"d{i}" for i in range(300)])
    answers = np.full((300, 11), -1.0)
    answers[:150, 1] = truth[np.arange(150) // 3 * 3, 2]
    found = ranking.drawn(truth, answers, "pairs", 300)
    assert np.quantile(found["mrr"], [0.025, 0.975]) == pytest.approx((0.4, 0.6), abs=0.03)
    assert set(found) == set(ranking.RANKINGS)
    nothing = ranking.drawn(truth * [0, 1, 1], answers, "labels", 10)
    assert (nothing["mrr"].min(), nothing["mrr"].max()) == (0, 1)
