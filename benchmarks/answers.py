"""The tables behind the figures of question answering: SQuAD's and CMRC's rows, split by article.

    python benchmarks/answers.py DATA OUT [MOST]

DATA holds squad_v1/dev.jsonl, xquad/zh.jsonl, cmrc2018/dev.jsonl and cmrc2018/trial.jsonl: a context a line, with its
title and qas (question, answers of text and start). OUT gets en/ and zh/, each with train, valid and test.jsonl, and
zh/xquad.jsonl. No article stands in two parts; XQuAD's English half is part of SQuAD's, so it is left out here.
MOST: how many questions of a context to take, the first ones, for a shorter run.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

Rows = list[dict]


def rows_of(file: Path) -> Rows:
    """A row for each question; of its answers those that stand where they are said to."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        for asked in one["qas"]:
            there = [
                part for part in asked["answers"] if one["context"].startswith(part["text"], max(part["start"], 0))
            ]
            if there and asked["question"].strip():  # CMRC's trial has one without
                answers = {"text": [a["text"] for a in there], "answer_start": [a["start"] for a in there]}
                question = asked["question"]
                rows.append(
                    {"title": one["title"], "question": question, "context": one["context"], "answers": answers}
                )
    return rows


def parts_of(rows: Rows, shares: tuple[float, ...], seed: int = 42) -> list[Rows]:
    """Whole articles in each part."""
    titles = sorted({row["title"] for row in rows})
    Random(seed).shuffle(titles)
    ends = [round(sum(shares[: i + 1]) * len(titles)) for i in range(len(shares))]
    parts = [set(titles[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return [[row for row in rows if row["title"] in part] for part in parts]


def write(file: Path, rows: Iterable[dict], most: int) -> None:
    """A .jsonl with the first questions of each context, and how much is in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    taken: Counter[str] = Counter()
    lines = []
    for row in rows:
        taken[row["context"]] += 1
        if taken[row["context"]] <= most:
            lines.append(json.dumps(row, ensure_ascii=False))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    contexts = {json.loads(line)["context"] for line in lines}
    print(f"{file}: {len(lines):,} questions, {len(contexts):,} contexts")


def main(data: Path, out: Path, most: int) -> None:
    """Both languages."""
    for part, rows in zip(
        ("train", "valid", "test"), parts_of(rows_of(data / "squad_v1/dev.jsonl"), (0.65, 0.1, 0.25)), strict=True
    ):
        write(out / "en" / f"{part}.jsonl", rows, most)
    dev, trial = rows_of(data / "cmrc2018/dev.jsonl"), rows_of(data / "cmrc2018/trial.jsonl")
    some, valid, test = parts_of(dev, (0.6, 0.1, 0.3))
    held_out = {row["title"] for row in valid + test}
    write(out / "zh/train.jsonl", some + [row for row in trial if row["title"] not in held_out], most)
    write(out / "zh/valid.jsonl", valid, most)
    write(out / "zh/test.jsonl", test, most)
    write(out / "zh/xquad.jsonl", rows_of(data / "xquad/zh.jsonl"), most)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1000)
