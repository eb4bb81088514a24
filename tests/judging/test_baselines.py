"""Baselines on small made-up data: they learn what can be learnt and survive what cannot."""

import numpy as np
import pytest

from headwise.judging import baselines

ENGLISH = ["a good film", "so good!", "good, very good", "a bad film", "so bad!", "bad, very bad"] * 5
CHINESE = ["电影很好看", "真好", "质量好", "电影太差了", "真差劲", "质量差"] * 5
TRUTH = np.array([1, 1, 1, 0, 0, 0] * 5)
SETS = np.stack([TRUTH, 1 - TRUTH, np.zeros_like(TRUTH), np.ones_like(TRUTH)], axis=1)  # the last two never change

pytestmark = pytest.mark.filterwarnings("error")


def test_majority_gives_the_most_frequent_class():
    assert baselines.majority(np.array([2, 0, 2, 1]), rows=3).tolist() == [2, 2, 2]


def test_majority_gives_the_most_frequent_set():
    sets = np.array([[1, 0], [0, 1], [1, 0], [1, 1]])
    assert baselines.majority(sets, rows=2).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("texts", "unseen"),
    [(ENGLISH, ["good", "the food was bad"]), (CHINESE, ["好", "服务很差"])],
    ids=["English", "Chinese"],
)
def test_tfidf_learns_words_and_characters(texts, unseen):
    assert baselines.tfidf(texts, TRUTH, unseen, seed=0).tolist() == [1, 0]


def test_tfidf_of_many_classes_and_the_same_seed():
    texts = [f"word{number % 20} common" for number in range(100)]
    truth = np.arange(100) % 20
    first, second = (baselines.tfidf(texts, truth, texts, seed=7) for _ in range(2))
    assert (first == truth).all()
    assert (first == second).all()


def test_tfidf_of_sets_with_constant_classes():
    predicted = baselines.tfidf(ENGLISH, SETS, ["good", "bad"], seed=0)
    assert predicted.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1]]


def test_tfidf_of_pairs_and_of_punctuation_alone():
    pairs = [("is it red?", "yes"), ["is it red?", "no"]] * 10
    truth = np.array([1, 0] * 10)
    assert baselines.tfidf(pairs, truth, [("is it blue?", "no")], seed=0).tolist() == [0]
    assert baselines.tfidf(["!", "?"] * 10, truth, ["?"], seed=0).tolist() == [0]


def test_one_class_only():
    assert baselines.tfidf(["a", "b"], np.array([3, 3]), ["c"], seed=0).tolist() == [3]
    assert baselines.frozen(np.eye(2), np.array([3, 3]), np.eye(2)[:1], seed=0).tolist() == [3]


@pytest.mark.parametrize("classes", [2, 77])
def test_frozen_separates_clusters(classes):
    random = np.random.default_rng(0)
    truth = np.arange(classes * 8) % classes
    centres = random.normal(size=(classes, 32))
    features = (centres[truth] + 0.1 * random.normal(size=(len(truth), 32))).astype(np.float32) * 100
    features[:, 0] = 5  # a feature that never changes
    predicted = baselines.frozen(features, truth, features, seed=0)
    assert predicted.shape == truth.shape
    assert (predicted == truth).all()


def test_frozen_of_sets():
    features = np.stack([TRUTH * 2.0 - 1, np.zeros(len(TRUTH))], axis=1).astype(np.float32)
    assert (baselines.frozen(features, SETS, features, seed=0) == SETS).all()


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        ("plain English", False),
        ("这款手机很好", True),
        ("我的 iPhone 14 坏了", True),
        ("the word 好 means good", False),
    ],
)
def test_mostly_chinese(text, chinese):
    assert baselines.mostly_chinese([text]) == chinese
