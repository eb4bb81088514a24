"""Texts that must be read whole: the mood of most of 40 sentences, cut at a model's limit or read in windows.

    python benchmarks/long_texts.py DATA OUT [--seed 0]

DATA is a folder with SST-2's train.tsv (text, label). Writes to OUT:

    sentences.tsv                 3,000 sentences of 15 words or more
    train.tsv valid.tsv test.tsv  64, 16 and 100 texts of 40 sentences in random order, some 1,300 tokens each, of
                                  which 24 to 27 have the text's label; no sentence stands in two of these files

and prints the commands to compare, which take some minutes on one free thread.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from headwise.reading.tables import read
from headwise.reading.writing import write

SENTENCES, MAJORITY, WORDS = 40, (24, 28), 15
SHORT = 3000
TEXTS = {"train": (64, 1100), "valid": (16, 400), "test": (100, 900)}  # texts, and sentences they are made of
LONG = (
    "--valid {out}/valid.tsv --test {out}/test.tsv --model {out}/short "
    "--epochs 1 --batch-size 8 --learning-rate 5e-5 --eval-steps 8 --no-baselines"
)
COMMANDS = f"""\
headwise train {{out}}/sentences.tsv --out {{out}}/short --epochs 1 --no-baselines
headwise train {{out}}/train.tsv {LONG} --out {{out}}/cut --max-windows 1
headwise train {{out}}/train.tsv {LONG} --out {{out}}/windows
"""


def texts(sentences: np.ndarray, labels: np.ndarray, count: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Texts of SENTENCES drawn without repetition inside a text, and the label of most of them."""
    made: dict[str, list[str]] = {"text": [], "label": []}
    for number in range(count):
        label = str(number % 2)
        most = int(rng.integers(*MAJORITY))
        drawn = [
            rng.choice(np.flatnonzero(own), size, replace=False)
            for own, size in ((labels == label, most), (labels != label, SENTENCES - most))
        ]
        made["text"].append(" ".join(sentences[rng.permutation(np.concatenate(drawn))]))
        made["label"].append(label)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    table = read(asked.data / "train.tsv").table
    columns = (table[name].to_pylist() for name in ("text", "label"))
    kept = {text.strip(): label for text, label in zip(*columns, strict=True)}
    every = "\n".join(kept)  # SST-2 has parts of its sentences, too
    rows = [(text, label) for text, label in kept.items() if len(text.split()) >= WORDS and every.count(text) == 1]
    rng = np.random.default_rng(asked.seed)
    rows = [rows[at] for at in rng.permutation(len(rows))]
    asked.out.mkdir(parents=True, exist_ok=True)
    sentences, labels = (np.array(column, dtype=object) for column in zip(*rows, strict=True))
    write(asked.out / "sentences.tsv", {"text": list(sentences[:SHORT]), "label": list(labels[:SHORT])})
    start = SHORT
    for name, (count, size) in TEXTS.items():
        part = slice(start, start + size)
        write(asked.out / f"{name}.tsv", texts(sentences[part], labels[part], count, rng))
        start += size
    print(COMMANDS.format(out=asked.out), end="")


if __name__ == "__main__":
    main()
