"""Few rows per class: is the few-shot mode better than plain fine-tuning, and what does each cost?

    python benchmarks/few_shot.py DATA OUT [--sets banking77 clinc150] [--seeds 0 1 2] [--modes plain few-shot]

DATA holds a folder for each set with train.tsv and test.tsv (columns text and label). Draws 8 rows per class of
train.tsv by seed, trains on them with that seed and the mode's default recipe, judges on the whole of test.tsv, and
prints a table. Out-of-scope rows of clinc150 are left out. A run that OUT/results.jsonl tells of is not made again.
Seconds are the processor's, from the rows to the judged model: with one thread, what a free core takes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

import headwise
from headwise.reading.tables import read
from headwise.reading.writing import write

PER_CLASS = 8
MODES: dict[str, dict[str, bool]] = {"plain": {}, "few-shot": {"few_shot": True}}


def rows_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Texts and labels, those in scope."""
    table = read(path).table
    texts, labels = (np.array(table[name].to_pylist(), object) for name in ("text", "label"))
    return texts[labels != "oos"], labels[labels != "oos"]


def draw(labels: np.ndarray, seed: int) -> np.ndarray:
    """PER_CLASS rows of each class."""
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [generator.permutation(np.flatnonzero(labels == name))[:PER_CLASS] for name in sorted(set(labels))]
    )


def made(data: Path, out: Path, name: str, seed: int, mode: str) -> dict:
    """Draw, train, judge: one line of the results."""
    files = {part: out / f"{name}-{seed}-{part}.tsv" for part in ("train", "test")}
    for part, file in files.items():
        texts, labels = rows_of(data / name / f"{part}.tsv")
        rows = draw(labels, seed) if part == "train" else slice(None)
        write(file, {"text": texts[rows].tolist(), "label": labels[rows].tolist()})
    began, wall = time.process_time(), time.time()
    model = headwise.train(files["train"], test=files["test"], seed=seed, with_baselines=False, **MODES[mode])
    accuracy = model.report.verdicts[-1].scores.accuracy
    seconds = time.process_time() - began
    line = {"set": name, "seed": seed, "mode": mode, "accuracy": accuracy, "seconds": seconds}
    return line | {"wall": time.time() - wall}


def table(results: list[dict]) -> str:
    """Accuracy by seed, their mean, and seconds: a row for each set and mode."""
    lines = ["| data | mode | accuracy by seed | mean | seconds |", "|---|---|---|---|---|"]
    for name, mode in dict.fromkeys((one["set"], one["mode"]) for one in results):
        some = sorted((one for one in results if (one["set"], one["mode"]) == (name, mode)), key=lambda x: x["seed"])
        scores, seconds = ([one[what] for one in some] for what in ("accuracy", "seconds"))
        each = ", ".join(f"{score:.3f}" for score in scores)
        lines.append(f"| {name} | {mode} | {each} | {np.mean(scores):.3f} | {np.mean(seconds):.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", default=["banking77", "clinc150"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=[*MODES])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "results.jsonl"
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for run in [(name, seed, mode) for name in given.sets for seed in given.seeds for mode in given.modes]:
        if run not in [(one["set"], one["seed"], one["mode"]) for one in done]:
            done.append(made(given.data, given.out, *run))
            with file.open("a") as kept:
                kept.write(json.dumps(done[-1]) + "\n")
    print(table(done))


if __name__ == "__main__":
    main()
