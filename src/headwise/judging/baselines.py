"""Baselines: what the fine-tuned model has to beat.

Truth and predictions are integers, [rows] for a single label or [rows, classes] of 0 and 1 for multi-label, or where
the answer is a number, numbers [rows].
A text is a string, or several strings (a pair of sentences) that belong together.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

Text = str | Sequence[str]

CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]")
"""One Chinese character."""


def majority(train_truth: np.ndarray, rows: int) -> np.ndarray:
    """For each of `rows` rows the most frequent answer of the training set: a class or, multi-label, a set of them."""
    answers, times = np.unique(train_truth, axis=0, return_counts=True)
    return np.repeat(answers[[times.argmax()]], rows, axis=0)


def mean(train_truth: np.ndarray, rows: int) -> np.ndarray:
    """For each of `rows` rows the mean of the training set."""
    return np.full(rows, train_truth.mean())


def tfidf(train_texts: Sequence[Text], train_truth: np.ndarray, test_texts: Sequence[Text], seed: int) -> np.ndarray:
    """Logistic regression on TF-IDF."""
    train, test = tfidf_features(seed, train_texts, test_texts)
    return _fit_predict(tfidf_classifier(seed), train, train_truth, test)


def tfidf_ridge(
    train_texts: Sequence[Text], train_truth: np.ndarray, test_texts: Sequence[Text], seed: int
) -> np.ndarray:
    """Ridge regression on TF-IDF."""
    from sklearn.linear_model import Ridge

    train, test = tfidf_features(seed, train_texts, test_texts)
    return np.asarray(Ridge(alpha=1.0, solver="sparse_cg").fit(train, train_truth).predict(test))


def frozen(train_features: np.ndarray, train_truth: np.ndarray, test_features: np.ndarray, seed: int) -> np.ndarray:
    """Logistic regression on features [rows, d_model] of a model that was not fine-tuned, standardised first."""
    from sklearn.linear_model import LogisticRegression

    train, test = _standardised(train_features, test_features)
    return _fit_predict(LogisticRegression(C=0.1, max_iter=1000, random_state=seed), train, train_truth, test)


def frozen_ridge(train_features: np.ndarray, train_truth: np.ndarray, test_features: np.ndarray) -> np.ndarray:
    """Ridge regression on features [rows, d_model], as strict as is best for training rows that are left out."""
    from sklearn.linear_model import RidgeCV

    train, test = _standardised(train_features, test_features)
    return np.asarray(RidgeCV(alphas=np.logspace(0, 5, 11)).fit(train, train_truth).predict(test))


def tfidf_features(seed: int, train_texts: Sequence[Text], *others: Sequence[Text]) -> list[Any]:
    """TF-IDF of words and pairs of words, or of 1 to 3 characters where texts are mostly Chinese: [b terms] for each.

    To take seconds on 70,000 rows, the 50,000 commonest terms are looked for in at most 20,000 rows, drawn by `seed`,
    and of each text the first 5,000 characters are read.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    train, *rest = ([joined(text)[:5_000] for text in texts] for texts in (train_texts, *others))
    sample = [train[row] for row in np.random.default_rng(seed).permutation(len(train))[:20_000]]
    if mostly_chinese(sample[:1_000]):
        units: dict[str, Any] = {"analyzer": "char", "ngram_range": (1, 3)}
    else:  # a punctuation mark or an emoji is a word too
        units = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]"}
    vectorizer = TfidfVectorizer(**units, sublinear_tf=True, max_features=50_000).fit(sample)
    return [vectorizer.transform(texts) for texts in (train, *rest)]


def tfidf_classifier(seed: int) -> Any:
    """What is fitted on TF-IDF."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    # with many classes, one against the rest by liblinear is ten times as fast as all at once, and as accurate
    return OneVsRestClassifier(
        LogisticRegression(C=10, solver="liblinear", dual=True, max_iter=1000, random_state=seed)
    )


def _standardised(train_features: np.ndarray, test_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the mean and the spread of the training rows taken out."""
    from sklearn.preprocessing import StandardScaler

    # in float32 the solver's line search can give up before it has converged
    scaler = StandardScaler().fit(train_features.astype(np.float64))
    return scaler.transform(train_features.astype(np.float64)), scaler.transform(test_features.astype(np.float64))


def joined(text: Text) -> str:
    """One string of a text, its parts (if it has parts) separated by a bar."""
    return text if isinstance(text, str) else " | ".join(text)


def mostly_chinese(texts: Sequence[str]) -> bool:
    """Whether there are more Chinese characters than words in other scripts."""
    chinese = sum(len(CHINESE.findall(text)) for text in texts)
    return chinese > sum(len(re.findall(r"\w+", CHINESE.sub(" ", text))) for text in texts)


def _fit_predict(model: Any, train: Any, truth: np.ndarray, test: Any) -> np.ndarray:
    """Predictions for `test` of a scikit-learn classifier fitted on `train`; multi-label: one class at a time."""
    if truth.ndim == 2:
        return np.stack([_fit_predict(model, train, column, test) for column in truth.T], axis=1)
    if (truth == truth[0]).all():  # nothing to tell apart, which scikit-learn refuses
        return np.full(test.shape[0], truth[0])
    return np.asarray(model.fit(train, truth).predict(test))
