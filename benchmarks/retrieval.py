"""A table of questions and answers, egret_support_qa, split by question: benchmarks/retrieval.py ALL.tsv OUT.

Rows of one question stay together. Of the distinct questions, in the order that seed 42 draws, a fifth goes to
OUT/test.tsv, a tenth to OUT/valid.tsv, the rest to OUT/train.tsv.
"""

import sys
from pathlib import Path

import numpy as np

from headwise.reading import read, write

SEED = 42


def main(table: str, out: str) -> None:
    """Write the three parts."""
    records = read(table)
    questions, group = np.unique(records.table["question"].to_pylist(), return_inverse=True)
    place = np.random.default_rng(SEED).permutation(len(questions))[group] / len(questions)  # [rows] 0 to 1
    Path(out).mkdir(parents=True, exist_ok=True)
    for name, low, high in (("test", 0.0, 0.2), ("valid", 0.2, 0.3), ("train", 0.3, 1.0)):
        part = records.select(np.flatnonzero((low <= place) & (place < high)))
        write(f"{out}/{name}.tsv", {column: part.table[column].to_pylist() for column in ("question", "answer")})
        print(f"{out}/{name}.tsv: {len(part):,} rows")


main(*sys.argv[1:])
