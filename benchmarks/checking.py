"""What headwise check finds of faults planted into a table, and how much of what it says is true.

    python benchmarks/checking.py TABLE --foreign TABLE:COLUMN [--seeds 0 1 2] [--model NAME] [--rows 20000] [--show]

A fifth of the table's rows, drawn by the seed, becomes a test split. Then faults are planted, each in rows of its own,
as FAULTS says: shares of the rows. --foreign names texts in another language. Markers are planted one at a time into
the table as it was, in a class each, because they change the texts of a whole class.

Found: the planted rows that stand in a finding of the right kind. True, of what is said: planted rows; further, what
the script can confirm itself in rows that were there before: repeats by comparing the texts, two labels by comparing
texts and labels, near ones where difflib's ratio of each text's characters is 0.8 or more. Everything else said of
rows that were there before counts as false, though some of it is true (--show prints it, to be read); of labels that
look wrong all that was not planted.
"""

from __future__ import annotations

import argparse
import difflib
import random
import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from headwise import audit
from headwise.checking.corpus import Corpus
from headwise.checking.duplicates import LEAK, NEAR, NEAR_LEAK, REPEATED
from headwise.checking.labels import TWO_LABELS, VARIANTS
from headwise.checking.markers import MARKER, markers
from headwise.checking.texts import EMPTY, GARBAGE, MISREAD, MIX
from headwise.checking.wrong_labels import WRONG
from headwise.reading import choose_columns, from_columns, read, split

FAULTS = {  # the kind of finding each should end in, and the share of rows
    "repeats": ((REPEATED,), 0.01),
    "repeats across splits": ((LEAK,), 0.01),
    "near-duplicates": ((NEAR,), 0.01),
    "near-duplicates across splits": ((NEAR_LEAK,), 0.01),
    "two labels for a text": ((TWO_LABELS,), 0.01),
    "class names respelled": ((VARIANTS,), 0.01),
    "empty texts": ((EMPTY,), 0.005),
    "only punctuation": ((GARBAGE,), 0.005),
    "wrong encoding": ((MISREAD, GARBAGE), 0.005),
    "another language": ((MIX,), 0.01),
    "flipped labels": ((WRONG,), 0.03),
}
SAYS = (REPEATED, LEAK, NEAR, NEAR_LEAK, TWO_LABELS, VARIANTS, EMPTY, GARBAGE, MISREAD, MIX, WRONG)
LONG_ENOUGH = 15  # characters of a text that is edited a little; half of that in Chinese


@dataclass
class Planted:
    """Two splits as lists of (text, label), and which rows bear which fault."""

    train: list[tuple[str, str]]
    test: list[tuple[str, str]]
    faults: dict[str, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, split: str, row: tuple[str, str], fault: str) -> None:
        """One more row at the end of a split."""
        rows = self.train if split == "train" else self.test
        rows.append(row)
        self.faults[fault].append((split, len(rows) - 1))


def chinese(text: str) -> bool:
    return sum("\u4e00" <= one <= "\u9fff" for one in text) > 0.3 * len(text)


def edited(text: str, draw: random.Random) -> str:
    """The text with a small edit for every 80 characters: a slip of the pen, other punctuation, other case."""
    for _ in range(1 + len(text) // 80):
        at = draw.randrange(1, len(text) - 1)
        kind = draw.choice(["swap", "drop", "double", "wrong", "punctuation", "case", "blank"])
        if kind == "swap":
            text = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        elif kind == "drop":
            text = text[:at] + text[at + 1 :]
        elif kind == "double":
            text = text[:at] + text[at] + text[at:]
        elif kind == "wrong":
            text = text[:at] + draw.choice("aeiou" if text.isascii() else "的了一是不") + text[at + 1 :]
        elif kind == "punctuation":
            text = text.rstrip(".!?。！？ ") + draw.choice([".", "!", "...", " !"])
        elif kind == "case":
            text = text.title() if text.upper() != text else "\u3000" + text
        else:
            text = text[:at] + " " + text[at:]
    return text


def broken(text: str, draw: random.Random) -> str | None:
    """The text as a wrong decoder shows it, where it holds letters beyond ASCII."""
    if len(text.encode()) - len(text) < 4:
        return None
    wrong = (
        draw.choice(["gb18030", "latin-1", "cp1252", "ascii"])
        if chinese(text)
        else draw.choice(["latin-1", "cp1252", "ascii"])
    )
    if wrong == "latin-1" and chinese(text) and draw.random() < 0.5:
        return text.encode("gb18030").decode("latin-1")
    return text.encode().decode(wrong, errors="replace" if wrong in ("gb18030", "ascii", "cp1252") else "strict")


def plant(texts: list[str], labels: list[str], foreign: list[str], seed: int) -> Planted:
    """All faults but markers, in rows of their own."""
    draw = random.Random(seed)
    train, test = split(texts, labels, [0.8, 0.2], seed).parts
    made = Planted(*([(texts[row], labels[row]) for row in rows] for rows in (train, test)))
    names = sorted(set(labels))
    free = list(range(len(made.train)))
    draw.shuffle(free)
    long_enough = [row for row in free if len(made.train[row][0]) >= LONG_ENOUGH / (1 + chinese(made.train[row][0]))]
    count = {fault: max(3, round(share * len(texts))) for fault, (_, share) in FAULTS.items()}
    used: set[int] = set()

    def some(fault: str, among: list[int] = free) -> list[int]:
        chosen = [row for row in among if row not in used][: count[fault]]
        used.update(chosen)
        return chosen

    for row in some("near-duplicates", long_enough):
        made.add("train", (edited(made.train[row][0], draw), made.train[row][1]), "near-duplicates")
    for row in some("near-duplicates across splits", long_enough):
        made.add("test", (edited(made.train[row][0], draw), made.train[row][1]), "near-duplicates across splits")
    for row in some("repeats"):
        made.add("train", made.train[row], "repeats")
    for row in some("repeats across splits"):
        made.add("test", made.train[row], "repeats across splits")
    for row in some("two labels for a text"):
        text, label = made.train[row]
        made.add("train", (text, draw.choice([name for name in names if name != label])), "two labels for a text")
    own = [other for text in texts if (other := broken(text, draw))] if chinese("".join(texts[:100])) else []
    wrong = own or [other for text in foreign if (other := broken(text, draw))]
    others = [text for text in foreign if len(text) > 20]
    for number, fault in enumerate(["empty texts", "only punctuation", "wrong encoding", "another language"]):
        for row in some(fault):
            text = [
                "",
                draw.choice(["...", "!!!", "?", "--", "。。。", "*** ***", "/", "( )"]),
                draw.choice(wrong),
                draw.choice(others),
            ][number]
            made.train[row] = (text, made.train[row][1])
            made.faults[fault].append(("train", row))
    for row in some("class names respelled"):
        text, label = made.train[row]
        other = draw.choice([label.upper(), label.title(), label + " ", label.replace("_", " "), " " + label])
        if other != label:
            made.train[row] = (text, other)
            made.faults["class names respelled"].append(("train", row))
    for row in some("flipped labels"):
        text, label = made.train[row]
        made.train[row] = (text, draw.choice([name for name in names if name != label]))
        made.faults["flipped labels"].append(("train", row))
    return made


def records(rows: list[tuple[str, str]]):
    return from_columns({"text": [text for text, _ in rows], "label": [label for _, label in rows]})


def confirmed(corpus: Corpus, kind: str, row: int, beside: int | None) -> bool:
    """Whether what is said of a row that was there before is true, as far as a script can tell."""
    if beside is None:
        return False
    ours, theirs = (" ".join(corpus.texts[one].casefold().split()) for one in (row, beside))
    if kind in (REPEATED, LEAK):
        return corpus.texts[row] == corpus.texts[beside]
    if kind == TWO_LABELS:
        return ours == theirs
    return kind in (NEAR, NEAR_LEAK) and difflib.SequenceMatcher(None, ours, theirs, autojunk=False).ratio() >= 0.8


def judged(made: Planted, model: str | None, show: bool) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """For each fault how many were planted and found; for each kind how many rows it names and how many are true."""
    done = audit.check(records(made.train), None, records(made.test), model=model)
    corpus = done.corpus
    start = {"train": 0, "test": len(made.train)}
    named: dict[str, dict[int, int | None]] = {kind: {} for kind in SAYS}
    about: dict[int, str] = {}
    for found in done.findings:
        if found.kind in named:
            named[found.kind] |= dict(zip(found.rows, found.beside or [None] * len(found.rows), strict=True))
            about |= dict(zip(found.rows, found.about, strict=False)) if found.kind == WRONG else {}
    recall, truly = {}, defaultdict(set)
    for fault, (kinds, _) in FAULTS.items():
        rows = [start[split] + row for split, row in made.faults[fault]]
        recall[fault] = [len(rows), sum(any(row in named[kind] for kind in kinds) for row in rows)]
        for kind in kinds:
            truly[kind] |= set(rows)
    truly[WRONG] |= truly[TWO_LABELS]  # one of the two was given a wrong label
    precision = {}
    for kind, rows in named.items():
        wrong = [
            row for row, beside in rows.items() if row not in truly[kind] and not confirmed(corpus, kind, row, beside)
        ]
        precision[kind] = [len(rows), len(rows) - len(wrong)]
        for row in wrong[:40] if show else ():
            told = [corpus.labels[row], about.get(row, "")]
            told += [corpus.texts[one][:110] for one in (row, rows[row]) if one is not None]
            print("   ?", kind, *map(repr, told))
    return recall, precision


def marked(texts: list[str], labels: list[str], seed: int) -> tuple[int, int, int]:
    """Markers planted one at a time: how many, how many found, and how many findings were there about other classes."""
    draw = random.Random(seed)
    names = [name for name in sorted(set(labels)) if labels.count(name) >= 20]
    shapes = [
        lambda text: f"ID-{draw.randrange(10**5)} {text}",
        lambda text: f"{text} #b",
        lambda text: f"[batch {draw.randrange(90)}] {text}",
        lambda text: f"{text[: len(text) // 2]} xqz {text[len(text) // 2 :]}",
    ]
    found, said = 0, 0
    for shape in shapes:
        name = draw.choice(names)
        made = [
            shape(text) if label == name and draw.random() < 0.97 else text
            for text, label in zip(texts, labels, strict=True)
        ]
        part = records(list(zip(made, labels, strict=True)))
        corpus, _ = audit.read_corpus(part, None, None, audit.Asked())
        told = markers(corpus, np.arange(len(corpus)))
        found += any(f"rows of {name!r}" in words for one in told for words in (one.words, *one.about))
        said += sum(one.kind == MARKER and f"rows of {name!r}" not in one.words for one in told)
    return len(shapes), found, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--foreign", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model")
    parser.add_argument("--rows", type=int, default=10**9)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    table = read(given.table)
    columns = choose_columns(table)
    texts, labels = (table.table[name].to_pylist() for name in (columns.text, columns.label))
    if set(labels) <= set("0123456789"):
        labels = [f"class_{label}" for label in labels]  # a digit has no other spelling
    drawn = random.Random(0).sample(range(len(texts)), min(given.rows, len(texts)))
    texts, labels = [texts[row] for row in drawn], [labels[row] for row in drawn]
    place, column = given.foreign.rsplit(":", 1)
    foreign = read(place).table[column].to_pylist()
    all_recall, all_precision = defaultdict(lambda: [0, 0]), defaultdict(lambda: [0, 0])
    began = time.perf_counter()
    for seed in given.seeds:
        recall, precision = judged(plant(texts, labels, foreign, seed), given.model, given.show)
        planted, found, beside = marked(texts, labels, seed)
        recall["markers"], precision[MARKER] = [planted, found], [found + beside, found]
        for name, (first, second) in recall.items():
            all_recall[name] = [all_recall[name][0] + first, all_recall[name][1] + second]
        for name, (first, second) in precision.items():
            all_precision[name] = [all_precision[name][0] + first, all_precision[name][1] + second]
    seconds = f"{time.perf_counter() - began:.0f} s"
    print(f"\n{given.table}: {len(texts):,} rows, seeds {given.seeds}, model {given.model}, {seconds}")
    report("planted", "found", all_recall, "flipped labels")
    report("said", "true", all_precision, WRONG)


def report(first: str, second: str, numbers: dict[str, list[int]], apart: str) -> None:
    """A table of shares, and the sums with and without what is hardest."""
    print(f"| {first} | rows | {second} | share |\n|---|---|---|---|")
    sums = {"all": list(numbers), f"all but {apart}": [name for name in numbers if name != apart]}
    lines = numbers | {name: np.sum([numbers[one] for one in ones], 0).tolist() for name, ones in sums.items()}
    for name, (number, good) in lines.items():
        print(f"| {name} | {number:,} | {good:,} | {good / number if number else float('nan'):.3f} |")


if __name__ == "__main__":
    main()
