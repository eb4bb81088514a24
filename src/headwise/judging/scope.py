"""Scope: telling texts like those of training from texts about something else.

Every score is higher for a text in scope. From logits [rows, classes]: the largest probability (Hendrycks & Gimpel
2017, arXiv:1610.02136), the largest logit (Hendrycks et al. 2022, arXiv:1911.11132), the energy (Liu et al. 2020,
arXiv:2010.03759). From features [rows, d]: minus the Mahalanobis distance to the nearest class mean (Lee et al. 2018,
arXiv:1807.03888).
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from headwise.errors import InputError

SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "probability": lambda logits: np.asarray(softmax(logits, axis=1).max(axis=1)),
    "logit": lambda logits: np.asarray(logits.max(axis=1)),
    "energy": lambda logits: np.asarray(logsumexp(logits, axis=1)),
}


class Mahalanobis:
    """Distance to the means of the classes, in the covariance they share, shrunk (Ledoit & Wolf 2004)."""

    def __init__(self, features: np.ndarray, truth: np.ndarray):
        """features [rows, d] and class numbers [rows] of the training rows."""
        classes, codes = np.unique(truth, return_inverse=True)
        means = np.stack([features[codes == code].mean(axis=0) for code in range(len(classes))])
        precision = LedoitWolf(assume_centered=True).fit(features - means[codes]).precision_
        self.whiten = np.linalg.cholesky(precision)
        self.means = means @ self.whiten  # [classes, d]

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """[rows, d] -> [rows]"""
        white = features @ self.whiten
        squares = (white**2).sum(1)[:, None] - 2 * white @ self.means.T + (self.means**2).sum(1)
        return np.asarray(-np.sqrt(np.maximum(squares.min(axis=1), 0)))


def threshold(scores: np.ndarray, false_alarms: float) -> float:
    """Below it a text is called out of scope; of texts in scope at most this share is, on average over sets of rows.

    scores [rows] of held-out rows in scope. The k-th lowest of n with k = false_alarms · (n + 1) (conformal prediction,
    Vovk et al. 2005). Raises InputError below 1 / false_alarms rows.
    """
    if not 0 < false_alarms < 1:
        raise InputError(f"the false alarms are {false_alarms:g}, expected a share between 0 and 1, such as 0.05")
    place = math.floor(false_alarms * (len(scores) + 1))
    if not place:
        raise InputError(
            f"{len(scores):,} rows are too few to allow {false_alarms:.2%} false alarms; "
            f"give {math.ceil(1 / false_alarms) - 1:,} at least"
        )
    return float(np.sort(scores)[place - 1])


@dataclass(frozen=True)
class Detection:
    """How well a score tells apart, on rows that did not set the threshold."""

    auroc: float  # how often a row in scope scores higher than one out of scope
    recall: float  # share of rows out of scope that are found
    false_alarms: float  # share of rows in scope that are called out of scope

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def detection(inside: np.ndarray, outside: np.ndarray, threshold: float) -> Detection:
    """From the scores of rows in scope and of rows out of scope."""
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    auroc = float(roc_auc_score(truth, np.concatenate([inside, outside])))
    return Detection(auroc, float((outside < threshold).mean()), float((inside < threshold).mean()))
