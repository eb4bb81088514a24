"""What a re-ranker adds to vectors: rows to train one on, and the order of the ten nearest texts before and after it.

    python benchmarks/reranking.py pairs VECTORS ROWS OUT
    headwise train OUT/train.tsv --valid OUT/valid.tsv --out SECOND ...
    python benchmarks/reranking.py judge VECTORS SECOND ROWS/test.tsv

VECTORS is a run of feature-extraction on ROWS/train.tsv and ROWS/valid.tsv. Each of their rows becomes a pair with the
label 1, and with it go WRONG pairs with the label 0: of the question and texts that are among its ten nearest ones
without being right, drawn with seed 42. `judge` prints MRR@10 and nDCG@10 of both orders on the distinct questions of
the test rows, and 95 % intervals of what is gained (10,000 paired resamples of the questions).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from headwise.model import load
from headwise.reading import read, write
from headwise.search import Hit, Index

WRONG, SEED, RESAMPLES = 2, 42, 10_000


def right_of(path: Path) -> dict[str, set[str]]:
    """The right texts of each distinct question of a table, whose first two columns are question and answer."""
    found: dict[str, set[str]] = {}
    table = read(path).table
    for question, answer in zip(table[0].to_pylist(), table[1].to_pylist(), strict=True):
        found.setdefault(question, set()).add(answer)
    return found


def nearest(run: str, right: dict[str, set[str]], reranker: str | None = None) -> list[list[Hit]]:
    """The ten nearest of all right texts to each question."""
    index = Index.of(load(run), list(dict.fromkeys(text for texts in right.values() for text in texts)))
    return index.search(list(right), least=0.0, reranker=None if reranker is None else load(reranker))


def pairs(run: str, rows: str, out: str) -> None:
    """Write the pairs a re-ranker learns from."""
    rng = np.random.default_rng(SEED)
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in ("train", "valid"):
        right = right_of(Path(rows) / f"{name}.tsv")
        made: list[tuple[str, str, int]] = []
        for (question, texts), hits in zip(right.items(), nearest(run, right), strict=True):
            wrong = [hit.text for hit in hits if hit.text not in texts]
            for text in sorted(texts):
                made.append((question, text, 1))
                made += [(question, wrong[i], 0) for i in rng.permutation(len(wrong))[:WRONG]]
        columns = zip(("text_a", "text_b", "label"), zip(*made, strict=True), strict=True)
        write(f"{out}/{name}.tsv", {column: list(values) for column, values in columns})
        print(f"{out}/{name}.tsv: {len(made):,} rows")


def gains(hits: list[list[Hit]], right: dict[str, set[str]]) -> np.ndarray:
    """MRR@10 and nDCG@10 of each question. [q 2]"""
    found = np.array([[hit.text in texts for hit in row] for row, texts in zip(hits, right.values(), strict=True)])
    discount = 1 / np.log2(np.arange(2, found.shape[1] + 2))
    ideal = np.array([discount[: len(texts)].sum() for texts in right.values()])
    first = np.where(found.any(1), 1 / (found.argmax(1) + 1), 0.0)
    return np.stack([first, (found * discount).sum(1) / ideal], 1)


def judge(run: str, second: str, test: str) -> None:
    """Print both orders, and what the second one gains."""
    right = right_of(Path(test))
    before, after = (gains(nearest(run, right, reranker), right) for reranker in (None, second))
    drawn = np.random.default_rng(SEED).integers(0, len(right), (RESAMPLES, len(right)))
    spread = (after - before)[drawn].mean(1)  # [resamples 2]
    for number, name in enumerate(("MRR@10", "nDCG@10")):
        low, high = np.quantile(spread[:, number], (0.025, 0.975))
        old, new = before[:, number].mean(), after[:, number].mean()
        print(f"{name} {old:.3f} -> {new:.3f}, gained {new - old:+.3f} ({low:+.3f} to {high:+.3f})")
    print(f"{len(right)} questions")


if __name__ == "__main__":
    {"pairs": pairs, "judge": judge}[sys.argv[1]](*sys.argv[2:])
