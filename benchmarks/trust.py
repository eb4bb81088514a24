"""Promises kept: the error of what is answered, calibration, and texts out of scope, over many splits of a table.

    python benchmarks/trust.py RUN TABLE… [--outside TABLE] [--train TABLE] [--most-error 0.02 …] [--splits 100]

The tables hold rows with labels that RUN has not seen. Each split gives one half to `temperature`, `rule` and `scope`
and asks the other half what came of it: the expected calibration error before and after, how often the error of what
is answered stayed within its bound, how much is answered. --outside: texts that no label fits; prints AUROC, and
recall at 5 % false alarms, of energy and other scores. --train: the rows RUN was trained on, for the Mahalanobis
distance of their features (Lee et al. 2018, arXiv:1807.03888).
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from scipy.special import softmax
from sklearn.covariance import LedoitWolf

import headwise
from headwise.errors import InputError
from headwise.judging.calibration import calibration, temperature
from headwise.judging.scope import detection, energy, scope
from headwise.judging.selective import SURE, rule, selection
from headwise.model import Model
from headwise.training.asked import Asked
from headwise.training.inference import features

FALSE_ALARMS = 0.05


def mahalanobis(known: np.ndarray, truth: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Minus the distance to the nearest class mean, in the covariance they share. known [rows d], truth [rows]"""
    means = np.stack([known[truth == code].mean(0) for code in np.unique(truth)])
    whiten = np.linalg.cholesky(LedoitWolf(assume_centered=True).fit(known - means[truth]).precision_)
    centres = means @ whiten  # [classes d]

    def score(found: np.ndarray) -> np.ndarray:
        white = found @ whiten
        return -((white**2).sum(1)[:, None] - 2 * white @ centres.T + (centres**2).sum(1)).min(1)

    return score


def answered(model: Model, table: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits [rows classes] and truth [rows]."""
    part, _ = model.read(table, Asked())
    return model.asked(part.texts)[1].numpy(), part.truth


def resplit(logits: np.ndarray, truth: np.ndarray, most_error: float, splits: int, seed: int) -> None:
    """Decide on one half, look at the other."""
    kept, coverage, errors, none, before, after = 0, [], [], 0, [], []
    for number in range(splits):
        order = np.random.default_rng([seed, number]).permutation(len(truth))
        ours, theirs = np.array_split(order, 2)
        degrees = temperature(logits[ours], truth[ours])
        probabilities = softmax(logits.astype(np.float64) / degrees, axis=1)
        before.append(calibration(softmax(logits[theirs], axis=1), truth[theirs]).ece)
        after.append(calibration(probabilities[theirs], truth[theirs]).ece)
        confidence, wrong = probabilities.max(1), probabilities.argmax(1) != truth
        try:
            found = rule(confidence[ours], wrong[ours], most_error)
        except InputError:  # nothing is promised, so nothing is answered
            none, kept = none + 1, kept + 1
            coverage.append(0.0)
            continue
        done = selection(confidence[theirs] > found.threshold, wrong[theirs])
        kept += done.error <= most_error
        coverage.append(done.coverage)
        errors.append(done.error)
    accuracy = float((logits.argmax(1) == truth).mean())
    print(f"{len(truth):,} rows, accuracy {accuracy:.4f}; {splits} splits into halves")
    print(f"ECE {np.mean(before):.4f} before, {np.mean(after):.4f} after temperature scaling (means)")
    mean = f"mean error {np.mean(errors):.2%}" if errors else "no answers"
    print(
        f"error of answers at most {most_error:.2%} with {SURE:.0%} certainty: kept in {kept} of {splits} splits, "
        f"{mean}, {np.mean(coverage):.1%} of rows answered (in {none} splits none, as nothing could be promised)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("tables", nargs="+")
    parser.add_argument("--outside")
    parser.add_argument("--train")
    parser.add_argument("--most-error", type=float, nargs="+", default=[0.02])
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model = headwise.load(given.run)
    pairs = [answered(model, table) for table in given.tables]
    logits, truth = (np.concatenate(each) for each in zip(*pairs, strict=True))
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {version('torch')}, seed {given.seed}")
    for most_error in given.most_error:
        resplit(logits, truth, most_error, given.splits, given.seed)
    if given.outside is None:
        return
    outside, _, _ = model.unlabelled(given.outside, Asked())
    far = model.asked(outside)[1].numpy()
    scores = {
        "largest probability": (softmax(logits, axis=1).max(1), softmax(far, axis=1).max(1)),
        "largest logit": (logits.max(1), far.max(1)),
        "energy": (energy(logits), energy(far)),
    }
    if given.train is not None:
        parts = [model.read(table, Asked())[0] for table in (given.train, *given.tables)]
        texts = [part.texts for part in parts] + [outside]
        known, *near, out = (features(model.checkpoint.model, model.tokenizer.encode(one)) for one in texts)
        distance = mahalanobis(known.astype(np.float64), parts[0].truth)
        scores["Mahalanobis"] = distance(np.concatenate(near)), distance(out)
    for name, (inside, other) in scores.items():
        ours, theirs = np.array_split(np.random.default_rng(given.seed).permutation(len(inside)), 2)
        found = detection(inside[theirs], other, scope(inside[ours], FALSE_ALARMS).threshold)
        print(f"{name}: AUROC {found.auroc:.3f}, recall {found.recall:.1%} at {found.false_alarms:.1%} false alarms")


if __name__ == "__main__":
    main()
