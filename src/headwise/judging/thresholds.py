"""Thresholds: from which probability on a label of several is given, fitted to rows that training did not see."""

import numpy as np

USUAL = 0.5  # without rows to fit one to


def fitted(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """For each label the threshold with the best F1 on these rows. Both [rows, labels] -> [labels]

    Macro F1 is best where each label's own is (Lipton et al. 2014, arXiv:1402.1892). A threshold lies halfway between
    two probabilities; of equally good ones the nearest to 0.5 is taken, and a label no row has keeps 0.5.
    """
    return np.array([_best(*columns) for columns in zip(truth.T, probabilities.T, strict=True)])


def _best(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The threshold for one label. Both [rows]"""
    if not truth.any():
        return USUAL
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order].astype(np.float64)
    right = np.cumsum(truth[order])  # with the first 1, 2, … rows given the label
    f1 = 2 * right / (np.arange(1, len(truth) + 1) + truth.sum())
    below = np.append(falling[1:], 0.0)
    cuts = (falling + below) / 2
    possible = np.append(falling[:-1] > falling[1:], True)  # rows of the same probability are given it together
    best = possible & np.isclose(f1, f1[possible].max())
    if (best & (below < USUAL) & (falling >= USUAL)).any():
        return USUAL
    return float(cuts[best][np.abs(cuts[best] - USUAL).argmin()])
