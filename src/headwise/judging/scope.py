"""Scope: telling texts like those of training from texts about something else, which no label fits.

By the energy of the logits (Liu et al. 2020, arXiv:2010.03759): a softmax hides how large they are, and they are large
where a text looks like those of some class. `benchmarks/trust.py` compares it with other scores.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy

from headwise.errors import InputError


@dataclass(frozen=True)
class Scope:
    """From which energy on a text is in scope."""

    threshold: float
    false_alarms: float  # share of texts in scope that are called out of it, on average over sets of rows
    rows: int  # in scope, that it was found on


@dataclass(frozen=True)
class Detection:
    """How well a score tells apart, on rows that did not set the threshold."""

    auroc: float  # how often a row in scope scores higher than one out of scope
    recall: float  # share of rows out of scope that are found
    false_alarms: float  # share of rows in scope that are called out of scope


def energy(logits: np.ndarray) -> np.ndarray:
    """Higher in scope. [rows, classes] -> [rows]"""
    return np.asarray(scipy.special.logsumexp(logits.astype(np.float64), axis=1))


def scope(scores: np.ndarray, false_alarms: float) -> Scope:
    """From the scores [rows] of held-out rows in scope.

    The threshold is the k-th lowest of n, k = false_alarms · (n + 1), rounded down (conformal prediction, Vovk et al.
    2005). Raises InputError for too few rows.
    """
    if not 0 < false_alarms < 1:
        raise InputError(f"the false alarms are {false_alarms:g}, expected a share between 0 and 1, such as 0.05")
    place = math.floor(false_alarms * (len(scores) + 1))
    if not place:
        needed = math.ceil(1 / false_alarms) - 1
        raise InputError(
            f"{len(scores):,} rows are too few to allow {false_alarms:.2%} false alarms; give {needed:,} at least"
        )
    return Scope(float(np.sort(scores)[place - 1]), false_alarms, len(scores))


def detection(inside: np.ndarray, outside: np.ndarray, threshold: float) -> Detection:
    """From the scores of rows in scope and of rows out of scope."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([1, 0], [len(inside), len(outside)])
    auroc = float(roc_auc_score(truth, np.concatenate([inside, outside])))
    return Detection(auroc, float((outside < threshold).mean()), float((inside < threshold).mean()))
