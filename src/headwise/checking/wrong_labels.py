"""Labels that look wrong: rows whose label is likelier a slip than what a classifier that never saw them would give.

A label is taken to be what the text says, or, in an unknown share of rows, any label at all (uniform noise; Natarajan
et al. 2013, 'Learning with noisy labels'). How sharp the classifier is and how large that share is are fitted to the
labels as they are, out of fold; both give each row's chance that its label is a slip. A label that is easily taken for
the right one stays likely under the classifier; one that came in by accident hardly does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from headwise.checking.corpus import Corpus
from headwise.checking.findings import Finding, counted
from headwise.checking.labels import FEW
from headwise.errors import InputError, excerpt
from headwise.judging.baselines import joined, tfidf_classifier, tfidf_features
from headwise.reading.batches import Rows
from headwise.reading.splits import split

WRONG = "labels that look wrong"
FOLDS = 5
LEAST = 200  # rows: of fewer the share of wrong labels is not estimated
FITTED = 10_000  # rows at most that the noise is fitted to, for time's sake
PRECISION = 0.97  # the mean chance of being wrong of what is said; a little fewer are wrong, as noise is not uniform
POWER = 0.2  # a smaller share of wrong labels found is none worth looking for: texts are too hard to tell apart
MOST = 0.2  # a larger share of labels that are any at all is no noise: labels have little to do with texts
USUAL = 0.01  # the share of wrong labels with which POWER is reckoned where fewer are

Floats = npt.NDArray[np.float64]


def wrong_labels(corpus: Corpus, rows: Rows, seed: int, known: npt.NDArray[Any] | None = None) -> list[Finding]:
    """Rows whose label looks wrong, the surest first, with what it would be.

    known: features of the rows from a pretrained model [rows d], whose classifier then speaks beside that on TF-IDF.
    """
    if corpus.numerous or not corpus.classes:
        return []
    truth = corpus.truth[rows]
    _, first = np.unique([joined(corpus.texts[row]) for row in rows.tolist()], return_index=True)
    learnable = (truth.sum(0) >= FEW) & (truth[first].sum(0) >= FOLDS)  # a text is in one fold only
    used = np.flatnonzero(learnable)
    if not corpus.multi_label:
        common = truth[:, used].any(1)
        rows, known = rows[common], None if known is None else known[common]
    truth = corpus.truth[rows][:, used]
    if len(used) < 2:
        return []
    try:
        views = out_of_fold(corpus, rows, truth, seed, known)
    except InputError:  # too few texts to part
        return []
    names = np.array(corpus.names, object)[used]
    suspects = of_several(views, truth, names) if corpus.multi_label else of_one(views, truth, names)
    if suspects is None:
        words = "cannot be told from texts that are hard to label: too few rows, or classes too much alike"
        return [Finding(WRONG, "note", words, "try --model, which then reads the texts too" if known is None else "")]
    if not suspects:
        return []
    words = f"{counted(len(suspects), 'row')} of {len(rows):,} ({len(suspects) / len(rows):.1%}), the surest first"
    remedy = "read them and mend what is wrong; --fix leaves them as they are"
    at = tuple(int(rows[row]) for row, _ in suspects)
    return [Finding(WRONG, "warning", words, remedy, at, about=tuple(about for _, about in suspects))]


def out_of_fold(
    corpus: Corpus, rows: Rows, truth: npt.NDArray[np.bool_], seed: int, known: npt.NDArray[Any] | None
) -> list[Floats]:
    """The probability of each class for each row, from classifiers fitted on the other folds; of each view of the
    texts [rows c]: TF-IDF, and features where there are any.

    The same text is always in one fold.
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    texts = [corpus.texts[row] for row in rows.tolist()]
    folds = split([joined(text) for text in texts], truth.argmax(1), [1 / FOLDS] * FOLDS, seed).parts
    views = [(tfidf_features(seed, texts)[0], tfidf_classifier(seed))]
    if known is not None:
        views.append((known.astype(np.float64), make_pipeline(StandardScaler(), frozen_classifier(corpus, seed))))
    target = truth.astype(np.int64) if corpus.multi_label else truth.argmax(1)
    found = [np.zeros(truth.shape) for _ in views]
    for fold in folds:
        others = np.setdiff1d(np.arange(len(rows)), fold)
        for (features, model), probabilities in zip(views, found, strict=True):
            model.fit(features[others], target[others])
            columns = np.arange(truth.shape[1]) if corpus.multi_label else model.classes_
            probabilities[np.ix_(fold, columns)] = model.predict_proba(features[fold])
    return found


def frozen_classifier(corpus: Corpus, seed: int) -> Any:
    """What is fitted on features of a pretrained model."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    model = LogisticRegression(C=0.1, max_iter=1000, random_state=seed)
    return OneVsRestClassifier(model) if corpus.multi_label else model


def of_one(views: list[Floats], truth: npt.NDArray[np.bool_], names: Any) -> list[tuple[int, str]] | None:
    """Rows of one label each that look wrong, and a word about each."""
    given = truth.argmax(1)
    noise = Noise.of([logarithm(one) for one in views], given)
    found = noise.told()
    if found is None:
        return None
    likeliest = noise.probabilities.argmax(1)
    return [
        (row, f"{excerpt(names[given[row]])}, more likely {excerpt(names[likeliest[row]])}")
        for row in found.tolist()
        if likeliest[row] != given[row]
    ]


def of_several(views: list[Floats], truth: npt.NDArray[np.bool_], names: Any) -> list[tuple[int, str]] | None:
    """Rows of any number of labels where one is missing or too much, each label by itself; and a word about each."""
    found: dict[int, list[str]] = {}
    told = []
    for number in range(len(names)):
        both = [logarithm(np.stack([1 - one[:, number], one[:, number]], 1)) for one in views]
        told.append(Noise.of(both, truth[:, number].astype(np.int64)).told())
    if all(rows is None for rows in told):
        return None
    for number, (name, rows) in enumerate(zip(names, told, strict=True)):
        for row in () if rows is None else rows.tolist():
            word = "too much" if truth[row, number] else "missing"
            found.setdefault(row, []).append(f"{excerpt(name)} {word}")
    return [(row, ", ".join(words)) for row, words in found.items()]


def logarithm(probabilities: Floats) -> Floats:
    """Of probabilities clipped so that none is endless."""
    return np.asarray(np.log(np.clip(probabilities, 1e-6, 1)))


@dataclass(frozen=True, eq=False)
class Noise:
    """What is fitted to labels: given is the label of each row [rows]."""

    given: npt.NDArray[np.int64]
    probabilities: Floats  # [rows c] of the label a text says
    share: float  # of labels that are any at all

    @staticmethod
    def of(views: list[Floats], given: npt.NDArray[np.int64]) -> Noise:
        """By maximum likelihood, with a prior that rises with the share.

        views: logarithms of probabilities [rows c], which are added up, each times its weight.
        """
        some = np.random.default_rng(0).permutation(len(given))[:FITTED]
        parts, labels, at = [view[some] for view in views], given[some], np.arange(len(some))

        def loss(asked: Floats) -> float:
            right = scipy.special.log_softmax(weighed(asked, parts), axis=1)[at, labels]
            share = scipy.special.expit(asked[-1])
            each = np.log((1 - share) * np.exp(right) + share / parts[0].shape[1])
            return -float(each.mean() + np.log(share + 1e-12) / len(some))  # a slip or two there always are

        how: dict[str, Any] = {"maxiter": 200, "xatol": 0.02, "fatol": 1e-6}
        tried = []
        for sharp in (1, 4):  # without noise, few slips suffice to keep a classifier from being thought sharp
            start = np.array([np.log(sharp / len(views))] * len(views) + [-3.5])
            simplex = np.vstack([start, start + 0.5 * np.eye(len(start))])
            tried.append(
                scipy.optimize.minimize(loss, start, method="Nelder-Mead", options=how | {"initial_simplex": simplex})
            )
        found = min(tried, key=lambda one: float(one.fun)).x
        return Noise(given, scipy.special.softmax(weighed(found, views), axis=1), float(scipy.special.expit(found[-1])))

    def slips(self, probabilities: Floats, share: float) -> Floats:
        """The chance that labels of these probabilities are slips."""
        chance = share / self.probabilities.shape[1]
        return chance / ((1 - share) * probabilities + chance)

    def told(self) -> Rows | None:
        """The rows whose labels look wrong, the surest first: as many as are true in PRECISION, by their own chances.

        None where too few of those labels that are slips could be told from others.
        """
        if len(self.given) < LEAST or self.share > MOST or self.power < POWER:
            return None
        chances = self.slips(self.probabilities[np.arange(len(self.given)), self.given], self.share)
        order = np.argsort(-chances, kind="stable")
        means = np.cumsum(chances[order]) / np.arange(1, len(order) + 1)
        return order[: int((means >= PRECISION).sum())]  # means fall

    @property
    def power(self) -> float:
        """The share of slips that stand out, from what each row's chance would be with every other label."""
        chances = self.slips(self.probabilities, max(self.share, USUAL))
        other = np.arange(self.probabilities.shape[1]) != self.given[:, None]
        return float((chances >= PRECISION)[other].mean())


def weighed(asked: Floats, views: list[Floats]) -> Floats:
    """The sum of views, each times the exponential of what is asked."""
    return np.asarray(sum(np.exp(weight) * view for weight, view in zip(asked[:-1], views, strict=True)))
