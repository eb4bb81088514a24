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
LEAST_SURE = 200  # rows: of fewer the share of wrong labels is not estimated
LEVEL = 0.2  # the share of rows over which disagreement must stay that low
HIGHEST = 0.2  # a share of disagreement so high is not that of wrong labels

Floats = npt.NDArray[np.float64]


def wrong_labels(corpus: Corpus, rows: Rows, seed: int, known: npt.NDArray[Any] | None = None) -> list[Finding]:
    """Rows whose label looks wrong, the surest first, with what it would be.

    known: features of the rows from a pretrained model [rows d], whose classifier then speaks beside that on TF-IDF.
    """
    truth = corpus.truth[rows]
    used = np.flatnonzero(truth.sum(0) >= FEW)  # of rarer classes there is too little to learn
    if not corpus.multi_label:
        common = truth[:, used].any(1)
        rows, known = rows[common], None if known is None else known[common]
    truth = corpus.truth[rows][:, used]
    if len(used) < 2:
        return []
    try:
        probabilities = out_of_fold(corpus, rows, truth, seed, known)
    except InputError:  # too few texts to part
        return []
    names = np.array(corpus.names, object)[used]
    suspects = of_several(probabilities, truth, names) if corpus.multi_label else of_one(probabilities, truth, names)
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


def of_one(probabilities: Floats, truth: npt.NDArray[np.bool_], names: Any) -> list[tuple[int, str]] | None:
    """Rows of one label each that look wrong, and a word about each."""
    given, likeliest = truth.argmax(1), probabilities.argmax(1)
    ordered = np.sort(probabilities, 1)
    found = told_apart(ordered[:, -1] - ordered[:, -2], likeliest != given)  # sure is who puts one far ahead
    if found is None:
        return None
    return [
        (row, f"{excerpt(names[given[row]])}, more likely {excerpt(names[likeliest[row]])}") for row in found.tolist()
    ]


def of_several(probabilities: Floats, truth: npt.NDArray[np.bool_], names: Any) -> list[tuple[int, str]] | None:
    """Rows of any number of labels where one is missing or too much, each label by itself; and a word about each."""
    found: dict[int, list[str]] = {}
    told = [
        told_apart(np.abs(one - 0.5), (one >= 0.5) != its) for one, its in zip(probabilities.T, truth.T, strict=True)
    ]
    if all(rows is None for rows in told):
        return None
    for number, (name, rows) in enumerate(zip(names, told, strict=True)):
        for row in () if rows is None else rows.tolist():
            word = "too much" if truth[row, number] else "missing"
            found.setdefault(row, []).append(f"{excerpt(name)} {word}")
    return [(row, ", ".join(words)) for row, words in found.items()]


def told_apart(sure: Floats, disagrees: npt.NDArray[np.bool_]) -> Rows | None:
    """The rows where a sure classifier disagrees with the label, and the label is likelier wrong than the classifier.

    The surer a classifier, the rarer its mistakes, while wrong labels stay as frequent: among the surest rows the
    share of disagreement falls to the share of wrong labels and stays there. Rows count down to where it rises above
    that. None where it never stays: then wrong labels cannot be told from hard rows. (Confident learning, Northcutt
    et al. 2021, draws the line at the mean probability of each class, and on hard tasks so reports mostly the
    classifier's mistakes.)
    """
    order, rows = np.argsort(-sure, kind="stable"), np.arange(1, len(sure) + 1)
    wrong = np.cumsum(disagrees[order])
    most = ((wrong + np.sqrt(wrong) + 1) / rows)[LEAST_SURE - 1 :].min(initial=1)  # one standard deviation above
    last = int(np.flatnonzero(wrong <= most * rows).max(initial=-1))
    if len(sure) < LEAST_SURE or last < LEVEL * len(sure) or most > HIGHEST:
        return None
    return order[: last + 1][disagrees[order[: last + 1]]]
