"""Labels that look wrong: rows that a classifier which never saw them is sure to be of another class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headwise.checking.corpus import Corpus
from headwise.checking.findings import Finding, counted
from headwise.checking.labels import FEW
from headwise.errors import InputError, excerpt
from headwise.judging.baselines import joined, tfidf_classifier, tfidf_features
from headwise.reading.batches import Rows
from headwise.reading.splits import split

WRONG = "labels that look wrong"
FOLDS = 5
SUREST = 0.05  # the share of rows, the surest, on which a classifier is held to be right
LEAST_SURE = 200  # but so many rows at least
TRUE = 0.9  # the share of what is reported that is to be wrong indeed, as far as that can be told

Floats = npt.NDArray[np.float64]


def wrong_labels(corpus: Corpus, rows: Rows, seed: int, known: npt.NDArray[Any] | None = None) -> list[Finding]:
    """Rows whose label looks wrong, the surest first, with what it would be.

    known: features of the rows from a pretrained model [rows d], whose classifier then speaks beside that on TF-IDF.
    """
    truth = corpus.truth[rows]
    used = np.flatnonzero(truth.sum(0) >= FEW)  # of rarer classes there is too little to learn
    if not corpus.multi_label:
        rows, known = (None if one is None else one[truth[:, used].any(1)] for one in (rows, known))
    truth = corpus.truth[rows][:, used]
    if len(used) < 2:
        return []
    try:
        probabilities = out_of_fold(corpus, rows, truth, seed, known)
    except InputError:  # too few texts to part
        return []
    names = np.array(corpus.names, object)[used]
    suspects = of_several(probabilities, truth, names) if corpus.multi_label else of_one(probabilities, truth, names)
    if not suspects:
        return []
    words = f"{counted(len(suspects), 'row')} of {len(rows):,} ({len(suspects) / len(rows):.1%}), the surest first"
    remedy = "read them and mend what is wrong; --fix leaves them as they are"
    at = tuple(int(rows[row]) for row, _ in suspects)
    return [Finding(WRONG, "warning", words, remedy, at, about=tuple(about for _, about in suspects))]


def out_of_fold(
    corpus: Corpus, rows: Rows, truth: npt.NDArray[np.bool_], seed: int, known: npt.NDArray[Any] | None
) -> Floats:
    """The probability of each class for each row, from classifiers fitted on the other folds. [rows c]

    The same text is always in one fold.
    """
    texts = [corpus.texts[row] for row in rows.tolist()]
    folds = split([joined(text) for text in texts], truth.argmax(1), [1 / FOLDS] * FOLDS, seed).parts
    views = [(tfidf_features(seed, texts)[0], tfidf_classifier(seed))]
    if known is not None:
        views.append((known.astype(np.float64), make_pipeline(StandardScaler(), frozen_classifier(corpus, seed))))
    target = truth.astype(np.int64) if corpus.multi_label else truth.argmax(1)
    found = np.zeros(truth.shape)
    for fold in folds:
        others = np.setdiff1d(np.arange(len(rows)), fold)
        for features, model in views:
            model.fit(features[others], target[others])
            columns = np.arange(truth.shape[1]) if corpus.multi_label else model.classes_
            found[np.ix_(fold, columns)] += model.predict_proba(features[fold]) / len(views)
    return found


def frozen_classifier(corpus: Corpus, seed: int) -> Any:
    """What is fitted on features of a pretrained model."""
    model = LogisticRegression(C=0.1, max_iter=1000, random_state=seed)
    return OneVsRestClassifier(model) if corpus.multi_label else model


def of_one(probabilities: Floats, truth: npt.NDArray[np.bool_], names: Any) -> list[tuple[int, str]]:
    """Rows of one label each that look wrong, and a word about each."""
    given, likeliest = truth.argmax(1), probabilities.argmax(1)
    ordered = np.sort(probabilities, 1)
    sure = ordered[:, -1] - ordered[:, -2]  # how far the likeliest class is ahead [rows]
    return [
        (row, f"{excerpt(names[given[row]])}, more likely {excerpt(names[likeliest[row]])}")
        for row in told_apart(sure, likeliest != given).tolist()
    ]


def of_several(probabilities: Floats, truth: npt.NDArray[np.bool_], names: Any) -> list[tuple[int, str]]:
    """Rows of any number of labels where one is missing or too much, each label by itself; and a word about each."""
    found: dict[int, list[str]] = {}
    for number, name in enumerate(names):
        column = probabilities[:, number]
        for row in told_apart(np.abs(column - 0.5), (column >= 0.5) != truth[:, number]).tolist():
            word = "too much" if truth[row, number] else "missing"
            found.setdefault(row, []).append(f"{excerpt(name)} {word}")
    return [(row, ", ".join(words)) for row, words in found.items()]


def told_apart(sure: Floats, disagrees: npt.NDArray[np.bool_]) -> Rows:
    """The rows where a sure classifier disagrees with the label, and the label is likelier wrong than the classifier.

    The surer a classifier, the rarer its mistakes, while wrong labels stay as frequent: so among the surest rows
    the share of disagreement comes near the share of wrong labels. Rows count as long as the share among all that
    are as sure is not above that, over TRUE. (Confident learning, Northcutt et al. 2021, puts the threshold at the
    mean probability of each class instead, which on hard tasks reports mostly mistakes of the classifier.)
    """
    order = np.argsort(-sure, kind="stable")
    share = np.cumsum(disagrees[order]) / np.arange(1, len(order) + 1)
    least = min(len(order), max(LEAST_SURE, int(SUREST * len(order)))) - 1
    floor = share[least:].min()
    last = int(np.flatnonzero(share <= max(floor, 1 / len(order)) / TRUE).max(initial=-1))
    return order[: last + 1][disagrees[order[: last + 1]]]
