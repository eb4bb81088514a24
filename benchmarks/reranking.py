"""What a re-ranker adds to vectors: rows to train one on, and the order of the ten nearest texts before and after it.

    python benchmarks/reranking.py pairs VECTORS ROWS OUT
    headwise train OUT/train.tsv --valid OUT/valid.tsv --out SECOND ...
    python benchmarks/reranking.py judge VECTORS SECOND ROWS/test.tsv

VECTORS is a run of feature-extraction on ROWS/train.tsv and ROWS/valid.tsv. Each of their rows becomes a pair with the
label 1, and with it go pairs with the label 0: the question with NEAR of the texts that are among its ten nearest ones
without being right, and with FAR others, drawn with seed 42. (With near ones alone it is the right texts that are less
alike, and that is what a re-ranker learns.) `judge` prints MRR@10 and nDCG@10 of the order by cosine, by the re-ranker
alone, and by both, on the distinct questions of the test rows, and 95 % intervals of what is gained (10,000 paired
resamples of the questions).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from headwise.model import load
from headwise.reading import read, write
from headwise.search import Hit, Index

NEAR, FAR, SEED, RESAMPLES = 1, 2, 42, 10_000


def right_of(path: Path) -> dict[str, set[str]]:
    """The right texts of each distinct question of a table, whose first two columns are question and answer."""
    found: dict[str, set[str]] = {}
    table = read(path).table
    for question, answer in zip(table[0].to_pylist(), table[1].to_pylist(), strict=True):
        found.setdefault(question, set()).add(answer)
    return found


def nearest(run: str, right: dict[str, set[str]], reranker: str | None = None, alone: bool = False) -> list[list[Hit]]:
    """The ten nearest of all right texts to each question. alone: their cosines are forgotten when they are ordered."""
    index = Index.of(load(run), list(dict.fromkeys(text for texts in right.values() for text in texts)))
    if alone:
        index = replace(index, task=replace(index.task, calibration=None))
    return index.search(list(right), least=None if alone else 0.0, reranker=reranker and load(reranker))


def pairs(run: str, rows: str, out: str) -> None:
    """Write the pairs a re-ranker learns from."""
    rng = np.random.default_rng(SEED)
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in ("train", "valid"):
        right = right_of(Path(rows) / f"{name}.tsv")
        documents = sorted(set[str]().union(*right.values()))
        made: list[tuple[str, str, int]] = []
        for (question, texts), hits in zip(right.items(), nearest(run, right), strict=True):
            near = [hit.text for hit in hits if hit.text not in texts]
            far = [text for text in documents if text not in texts and text not in near]
            for text in sorted(texts):
                made.append((question, text, 1))
                for wrong, most in ((near, NEAR), (far, FAR)):
                    drawn = rng.choice(wrong, min(most, len(wrong)), replace=False)
                    made += [(question, str(other), 0) for other in drawn]
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
    """Print the order of cosines, what the re-ranker alone makes of it, and both together."""
    right = right_of(Path(test))
    before = gains(nearest(run, right), right)
    drawn = np.random.default_rng(SEED).integers(0, len(right), (RESAMPLES, len(right)))
    for how, alone in (("alone", True), ("with cosines", False)):
        after = gains(nearest(run, right, second, alone), right)
        spread = (after - before)[drawn].mean(1)  # [resamples 2]
        for number, name in enumerate(("MRR@10", "nDCG@10")):
            low, high = np.quantile(spread[:, number], (0.025, 0.975))
            old, new = before[:, number].mean(), after[:, number].mean()
            print(f"{how}: {name} {old:.3f} -> {new:.3f}, gained {new - old:+.3f} ({low:+.3f} to {high:+.3f})")
    print(f"{len(right)} questions")


if __name__ == "__main__":
    {"pairs": pairs, "judge": judge}[sys.argv[1]](*sys.argv[2:])
