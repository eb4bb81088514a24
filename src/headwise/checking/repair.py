"""A repaired copy of the tables: what can be mended without judgement is, and every change is listed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headwise.checking.corpus import Corpus, Labels, Split
from headwise.checking.duplicates import Twins
from headwise.checking.findings import Checked
from headwise.checking.labels import TWO_LABELS, UNLABELLED, spelling
from headwise.checking.texts import EMPTY, GARBAGE, MISREAD, reread
from headwise.errors import InputError
from headwise.reading.writing import whole_file, write

CHANGES = "changes.jsonl"


@dataclass(frozen=True)
class Change:
    """One row that was mended, or left out: then there is nothing after."""

    file: str
    line: int
    what: str  # text, label or row
    before: Any
    after: Any
    why: str


class Repair:
    """What is to be done to each row; a row is left out for the first reason there is."""

    def __init__(self, checked: Checked):
        self.corpus, self.findings = checked.corpus, checked.findings
        self.left_out: dict[int, str] = {}
        self.labels: dict[int, tuple[Labels, str]] = {}
        self.texts: dict[int, tuple[str, ...]] = {}
        spelled = spelling(self.corpus)
        for row, names in enumerate(self.corpus.labels):
            if set(names) & set(spelled):
                self.labels[row] = tuple(sorted({spelled.get(name, name) for name in names})), "the commonest spelling"
        for row in self.rows(MISREAD):
            self.texts[row] = tuple(map(reread, self.corpus.sides(row)))
        for kind in (EMPTY, GARBAGE, UNLABELLED):
            self.left_out |= dict.fromkeys(self.rows(kind), kind)
        self.settle()
        self.leave_out_repeats()

    def rows(self, *kinds: str) -> list[int]:
        """The rows of all findings of these kinds."""
        return [row for found in self.findings if found.kind in kinds for row in found.rows]

    def label(self, row: int) -> Labels:
        """The label of a row as it is by now."""
        return self.labels[row][0] if row in self.labels else self.corpus.labels[row]

    def settle(self) -> None:
        """Give a text with several labels the one most of its rows have, or leave it out.

        Each split by itself, or what is judged would say what training says. What it repeats of a later one goes.
        """
        groups: dict[Any, list[int]] = defaultdict(list)
        for row in self.rows(TWO_LABELS):
            text = tuple(" ".join(side.casefold().split()) for side in self.corpus.sides(row))
            groups[int(self.corpus.part_of[row]), text].append(row)
        for rows in groups.values():
            (most, times), *_ = Counter(map(self.label, rows)).most_common(1)
            for row in rows:
                if 2 * times <= len(rows):
                    self.left_out.setdefault(row, f"{TWO_LABELS}, none in the majority")
                elif self.label(row) != most:
                    self.labels[row] = most, f"what {times} of the {len(rows)} rows with this text say"

    def leave_out_repeats(self) -> None:
        """Of rows repeated word for word in a split the first stays; what also stands in a later split goes."""
        kept = [row for row in range(len(self.corpus)) if row not in self.left_out]
        twins = Twins(self.corpus, np.array(kept, np.int64))
        for part in range(len(self.corpus.parts)):
            for row, twin in twins.of(part, part)[0]:
                self.left_out[row] = f"repeats {self.corpus.where(twin)}"
        for row in reversed(kept):
            for part in range(self.corpus.part_of[row]):
                for twin in twins.all_in(part, row):
                    nearly = "" if self.corpus.texts[twin] == self.corpus.texts[row] else "nearly "
                    self.left_out.setdefault(twin, f"{nearly}stands in {self.corpus.where(row)}")

    def changes(self) -> list[Change]:
        """All of them, by row."""
        corpus, found = self.corpus, []
        for row in sorted({*self.left_out, *self.labels, *self.texts}):
            place = corpus.file(row), int(corpus.lines[row])
            if row in self.left_out:
                before = {"text": corpus.texts[row], "label": shown(corpus, corpus.labels[row])}
                found.append(Change(*place, "row", before, None, self.left_out[row]))
                continue
            if row in self.texts:
                after = self.texts[row] if len(self.texts[row]) > 1 else self.texts[row][0]
                found.append(Change(*place, "text", corpus.texts[row], after, MISREAD))
            if row in self.labels:
                names, why = self.labels[row]
                found.append(Change(*place, "label", shown(corpus, corpus.labels[row]), shown(corpus, names), why))
        return found

    def table(self, number: int) -> dict[str, list[Any]]:
        """The columns of a split, mended."""
        part, start = self.corpus.parts[number], int(self.corpus.starts[number])
        kept = [at for at in range(len(part.records)) if start + at not in self.left_out]
        columns = {
            name: part.records.table[name].take(np.array(kept, np.int64)).to_pylist() for name in part.records.columns
        }
        for at, row in enumerate(start + one for one in kept):
            if row in self.texts:
                names = [name for name in (part.columns.text, part.columns.pair) if name is not None]
                for name, text in zip(names, self.texts[row], strict=True):
                    columns[name][at] = text
            if row in self.labels:
                assert part.columns.label is not None
                columns[part.columns.label][at] = written(part, self.labels[row][0])
        return columns


def shown(corpus: Corpus, names: Labels) -> str | list[str]:
    """The label of a text, or its labels where it may have several."""
    return list(names) if corpus.multi_label else "".join(names)


def written(part: Split, names: Labels) -> str | list[str]:
    """Labels as they stand in a field of this table."""
    if part.multi_label:
        return part.separator.join(names) if part.separator is not None else list(names)
    return names[0]


def repair(checked: Checked, folder: Path) -> list[Change]:
    """Write the tables, mended, and a list of all changes into a folder; the originals stay as they are.

    Raises InputError where the folder holds one of these files already, or two tables have the same file name.
    """
    paths = [Path(part.records.path) for part in checked.corpus.parts]
    names = [path.name for path in paths]
    refuse_taken(folder, names)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another place for --fix") from None
    mending = Repair(checked)
    changes = mending.changes()
    for number, name in enumerate(names):
        columns = mending.table(number)
        if not next(iter(columns.values())):
            raise InputError(f"{paths[number]}: no row is left once it is mended; nothing to write, see the findings")
        write(folder / name, columns, checked.corpus.parts[number].records)
    with whole_file(folder / CHANGES) as file:
        file.writelines(f"{json.dumps(asdict(one), ensure_ascii=False)}\n".encode() for one in changes)
    return changes


def refuse_taken(folder: Path, names: Sequence[str]) -> None:
    """Raise InputError where a file would be written over, or twice."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two of the tables are called {name}; give them names of their own for --fix")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the repaired tables; choose another --fix")
    for name in (*names, CHANGES):
        if (folder / name).exists():
            raise InputError(f"{folder / name}: is there already; choose another folder for --fix")
