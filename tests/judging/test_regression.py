"""Scores of numbers are scipy's and scikit-learn's, and 0 where those have none."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from headwise.errors import InputError
from headwise.judging import baselines
from headwise.judging.regression import as_text, findings, score

pytestmark = pytest.mark.filterwarnings("error")


def test_scores_are_those_of_scipy_and_scikit_learn():
    random = np.random.default_rng(0)
    truth = random.normal(5, 2, 300).round(1)  # with ties
    answers = truth + random.normal(1, 1, 300).round(1)
    found = score(truth, answers)
    assert found.pearson == pytest.approx(scipy.stats.pearsonr(truth, answers).statistic, abs=1e-12)
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(truth, answers).statistic, abs=1e-12)
    assert found.r2 == pytest.approx(sklearn.metrics.r2_score(truth, answers))
    assert found.mae == pytest.approx(sklearn.metrics.mean_absolute_error(truth, answers))
    assert found.rmse == pytest.approx(sklearn.metrics.root_mean_squared_error(truth, answers))
    assert f"{found.mae:.4g}" in as_text(truth, answers)


def test_what_does_not_vary_has_no_correlation():
    numbers, same = np.array([0.1, 0.2, 0.3]), np.full(3, 0.1)
    assert score(numbers, same).pearson == score(numbers, same).spearman == score(same, numbers).pearson == 0
    assert score(same, numbers).r2 == 0 and score(numbers, same).r2 < 0
    assert score(same[:1], same[:1]).rmse == 0
    with pytest.raises(InputError, match="no rows"):
        score(same[:0], same[:0])


def test_the_worst_mistakes_come_first_and_plots_stay_small():
    truth = np.arange(10_000) / 10
    answers = truth.copy()
    answers[[7, 70, 700]] += [1, -9, 4]
    *plots, mistakes = findings(truth, answers, [(f"text {row}", "b") for row in range(len(truth))]).sections
    assert [row[0] for row in mistakes.rows[:3]] == ["text 70 | b", "text 700 | b", "text 7 | b"]
    assert [row[3] for row in mistakes.rows[:3]] == pytest.approx([-9, 4, 1])
    assert sum(len(plot.svg) for plot in plots) < 400_000


@pytest.mark.parametrize("words", [("good", "bad"), ("很好看", "太无聊")])
def test_ridge_on_words_finds_the_word_that_counts(words):
    random = np.random.default_rng(0)
    which = random.integers(0, 2, 200)
    texts = [f"{words[number]} {'的一部电影' if words[0] > 'z' else 'film'} {row}" for row, number in enumerate(which)]
    truth = which * 3 + 0.5
    answers = baselines.tfidf_ridge(texts[:150], truth[:150], texts[150:], 0)
    assert score(truth[150:], answers).pearson > 0.95
    features = np.column_stack([which, random.normal(size=200)])
    assert score(truth[150:], baselines.frozen_ridge(features[:150], truth[:150], features[150:])).r2 > 0.99
    assert baselines.mean(truth, 2).tolist() == [truth.mean()] * 2
