"""Rankings: texts that look for the texts they belong to, by the cosine of their vectors.

Truth [rows, 3]: what a row says of its two texts (1 or 0: they belong together or not; or how similar they are), and
a number for each text. Answers [rows, 1 + DEPTH]: the cosine of the two, and the numbers of the second texts that are
nearest to the first one, of all those of the rows but itself, the nearest first (-1 where there are no more).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from headwise.errors import InputError, listing
from headwise.judging.baselines import Text, mostly_chinese
from headwise.judging.intervals import redrawn
from headwise.judging.metrics import ClassScores
from headwise.judging.regression import correlation

DEPTH = 10  # as far down as a ranking is looked at
RANKINGS = {"mrr": "MRR@10", "ndcg": "nDCG@10", "recall_at_1": "recall@1", "recall_at_10": "recall@10"}
METRICS: Mapping[str, Mapping[str, str]] = {
    "pairs": RANKINGS,
    "labels": {"average_precision": "average precision", "auroc": "AUROC", **RANKINGS},
    "scores": {"spearman": "Spearman", "pearson": "Pearson"},
}
"""By what the rows say of their texts: that they belong together; whether they do; how similar they are."""


@dataclass(frozen=True)
class RankingScores:
    """How one set of answers did, by the names of its metrics."""

    values: dict[str, float]
    rows: int

    @property
    def parts(self) -> Mapping[str, ClassScores]:
        """None: there are no classes."""
        return {}

    def named(self, metric: str) -> float:
        """The score called `metric`; InputError, listing what there is, for a name that is none."""
        if metric not in self.values:
            raise InputError(f"there is no metric {metric!r}; choose one of {listing(self.values)}")
        return self.values[metric]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {**self.values, "rows": self.rows}


def score(truth: np.ndarray, answers: np.ndarray, relation: str) -> RankingScores:
    """Score answers by what the rows say: pairs, labels or scores. What cannot be told (no row, one class) is 0."""
    found = by_cosine(truth[:, 0], answers[:, 0], relation)
    if relation != "scores":
        found |= means(by_question(truth, answers))
    return RankingScores(found, len(truth))


def drawn(truth: np.ndarray, answers: np.ndarray, relation: str, draws: int) -> dict[str, np.ndarray]:
    """Each metric in every draw [draws]: of rankings questions are drawn again, else rows. Without a question: 0, 1."""
    found = redrawn(lambda rows: by_cosine(truth[rows, 0], answers[rows, 0], relation), len(truth), draws)
    if relation == "scores":
        return found
    scores = by_question(truth, answers)
    if not len(scores):
        return found | dict.fromkeys(RANKINGS, np.arange(draws) % 2.0)
    return found | redrawn(lambda some: means(scores[some]), len(scores), draws)


def by_cosine(values: np.ndarray, cosines: np.ndarray, relation: str) -> dict[str, float]:
    """The metrics that compare what each row says with its cosine."""
    if relation == "scores":
        spearman = correlation(scipy.stats.rankdata(values), scipy.stats.rankdata(cosines))
        return {"spearman": spearman, "pearson": correlation(values, cosines)}
    if relation == "pairs":
        return {}
    from sklearn.metrics import average_precision_score, roc_auc_score

    both = len(np.unique(values)) == 2
    return {
        "average_precision": float(average_precision_score(values, cosines)) if both else 0.0,
        "auroc": float(roc_auc_score(values, cosines)) if both else 0.0,
    }


def by_question(truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """MRR@10, nDCG@10 and recall of each of q distinct first texts that have a right second one. [q 4]"""
    discounts = 1 / np.log2(np.arange(DEPTH) + 2)
    scores = []
    for row, right in questions(truth):
        hits = np.isin(answers[row, 1:], truth[right, 2])  # [DEPTH]
        wanted = len(np.unique(truth[right, 2]))
        first = hits.argmax() + 1
        ndcg = (hits * discounts).sum() / discounts[:wanted].sum()
        scores.append((hits.any() / first, ndcg, hits[0] / wanted, hits.sum() / wanted))
    return np.array(scores).reshape(-1, len(RANKINGS))


def means(scores: np.ndarray) -> dict[str, float]:
    """The mean over questions, 0 without any. [q 4]"""
    return dict(zip(RANKINGS, (scores.sum(0) / max(len(scores), 1)).tolist(), strict=True))


def questions(truth: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Of each distinct first text that has a right second one: its first row, and the rows that hold right ones.

    That a text belongs to itself is nothing to be found.
    """
    right = np.flatnonzero((truth[:, 0] > 0) & (truth[:, 1] != truth[:, 2]))
    order = right[np.argsort(truth[right, 1], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(truth[order, 1])) + 1):
        if len(rows):
            yield int(rows[0]), rows


def numbers(texts: Iterable[str]) -> np.ndarray:
    """A number for each text, everywhere the same: 52 bits of its digest, which a float holds exactly. [texts]"""
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.array([int.from_bytes(digest, "big") >> 12 for digest in digests], np.float64)


def answered(first: Any, second: Any, numbers: np.ndarray) -> np.ndarray:
    """Answers from vectors of length 1 of the first and second texts [rows d], dense or sparse; their numbers [rows 2].

    Every second text is compared with every first one: exact, and fast enough for some ten thousand rows.
    """
    distinct, at, place = np.unique(numbers[:, 1], return_index=True, return_inverse=True)
    answers = np.full((len(numbers), 1 + DEPTH), -1.0)
    for rows, cosines in similarities(first, second[at]):
        answers[rows, 0] = cosines[np.arange(len(cosines)), place[rows]]
        cosines[numbers[rows, :1] == distinct] = -np.inf  # the text itself
        best = nearest(cosines, DEPTH)
        others = np.isfinite(np.take_along_axis(cosines, best, 1))
        answers[rows, 1 : 1 + best.shape[1]] = np.where(others, distinct[best], -1)
    return answers


def similarities(first: Any, second: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """The cosines of some first texts at a time with all second ones, vectors of length 1. [some m]"""
    from sklearn.metrics.pairwise import linear_kernel

    for start in range(0, first.shape[0], 512):
        rows = slice(start, start + 512)
        yield rows, linear_kernel(first[rows], second)


def nearest(cosines: np.ndarray, most: int) -> np.ndarray:
    """The columns of the highest numbers of each row, the highest first. [q m] -> [q most]"""
    most = min(most, cosines.shape[1])
    best = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
    order = np.argsort(-np.take_along_axis(cosines, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1)


def tfidf(train: Sequence[Text], texts: Sequence[Text]) -> np.ndarray:
    """Answers by TF-IDF alone: words, or 1 to 3 characters where texts are mostly Chinese; nothing is learnt."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = [side[:5_000] for pair in train[:20_000] for side in pair]
    units: dict[str, Any] = {"token_pattern": r"\w+"}
    if mostly_chinese(known[:1_000]):
        units = {"analyzer": "char", "ngram_range": (1, 3)}
    vectorizer = TfidfVectorizer(**units, sublinear_tf=True, max_features=50_000).fit(known)
    first, second = (vectorizer.transform([pair[side][:5_000] for pair in texts]) for side in (0, 1))
    return answered(first, second, np.stack([numbers(pair[side] for pair in texts) for side in (0, 1)], axis=1))


@dataclass(frozen=True, eq=False)
class Duels:
    """For q first texts that have a right second one: how near that is, and how near the nearest wrong one."""

    rows: np.ndarray  # [q] where the first text stands
    right: np.ndarray  # [q] cosines
    wrong: np.ndarray  # [q]
    opponents: np.ndarray  # [q] the rows where the nearest wrong ones stand

    @property
    def won(self) -> np.ndarray:
        """Whether the right one is the nearest of all. [q]"""
        return self.right > self.wrong


def duels(first: np.ndarray, second: np.ndarray, truth: np.ndarray) -> Duels:
    """Right against nearest wrong, from vectors of length 1 [rows d]."""
    asked = list(questions(truth))
    distinct, at, place = np.unique(truth[:, 2], return_index=True, return_inverse=True)
    rows = np.array([row for row, _ in asked], np.int64)
    right, wrong, opponents = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows), np.int64)
    for some, cosines in similarities(first[rows], second[at]) if len(rows) else ():
        for i, (question, partners) in enumerate(asked[some]):
            places, row = place[partners], some.start + i
            right[row] = cosines[i, places].max()
            cosines[i, places] = -1.0
            cosines[i, distinct == truth[question, 1]] = -1.0  # the text itself
            opponents[row], wrong[row] = at[cosines[i].argmax()], cosines[i].max()
    return Duels(rows, right, wrong, opponents)


@dataclass(frozen=True)
class PlattScaling:
    """What the cosine of the nearest text says of the chance that it is right: 1 / (1 + exp(-(slope·cosine + base))).

    Fitted on each question twice, as it is and with its right texts taken away, so that half of what is
    best cannot be right (Platt 1999, 'Probabilistic outputs for support vector machines').
    """

    slope: float
    base: float

    @staticmethod
    def of(duels: Duels) -> PlattScaling | None:
        """None where all or none of the nearest texts are right: there is nothing to learn from."""
        from sklearn.linear_model import LogisticRegression

        cosines = np.concatenate([np.maximum(duels.right, duels.wrong), duels.wrong])
        right = np.concatenate([duels.won, np.zeros(len(duels.wrong), bool)])
        if not right.any():
            return None
        fitted = LogisticRegression(C=1e4, max_iter=1000).fit(cosines[:, None], right)
        return PlattScaling(float(fitted.coef_[0, 0]), float(fitted.intercept_[0]))

    def probabilities(self, cosines: np.ndarray) -> np.ndarray:
        """The chance of being right, by cosine."""
        return np.asarray(np.exp(-np.logaddexp(0, -self.log_odds(cosines))))

    def log_odds(self, cosines: np.ndarray) -> np.ndarray:
        """The logarithm of right to wrong, by cosine."""
        return np.asarray(self.slope * cosines + self.base)
