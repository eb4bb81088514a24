"""The same text twice: word for word or nearly, within a split and across splits."""

from __future__ import annotations

from itertools import combinations

from headwise.checking.corpus import Corpus
from headwise.checking.findings import Finding, counted
from headwise.checking.similar import plain, similar
from headwise.reading.batches import Rows
from headwise.reading.text import Text

Pairs = list[tuple[int, int]]  # a row, and the row it is like

REPEATED, NEAR, LEAK, NEAR_LEAK = "repeated texts", "near-duplicates", "leak", "near leak"


def duplicates(corpus: Corpus, rows: Rows) -> list[Finding]:
    """What these rows (ascending) repeat: of each other in a split, and of an earlier split."""
    twins = Twins(corpus, rows)
    found = []
    for number, part in enumerate(corpus.parts):
        exact, near = twins.of(number, number)
        size = len(part.records)
        if exact:
            found.append(
                Finding(
                    REPEATED,
                    "warning",
                    f"{counted(len(exact), 'row')} of {part.name} ({len(exact) / size:.1%}) repeat an earlier one "
                    "word for word",
                    "keep one of each; they weigh double, and a split may part them",
                    *columns(exact),
                )
            )
        if near:
            found.append(
                Finding(
                    NEAR,
                    "warning" if len(near) >= 0.01 * size else "note",
                    f"{counted(len(near), 'row')} of {part.name} ({len(near) / size:.1%}) are nearly an earlier one",
                    "when you split off rows, keep such rows in one part",
                    *columns(near),
                )
            )
    for first, second in combinations(range(len(corpus.parts)), 2):
        found += leaks(corpus, first, second, *twins.of(first, second))
    return found


def leaks(corpus: Corpus, first: int, second: int, exact: Pairs, near: Pairs) -> list[Finding]:
    """What rows of one split repeat of another."""
    here, there = corpus.parts[second], corpus.parts[first].name
    size, found = len(here.records), []
    remedy = f"remove them from {there}: --fix does; until then the score on {here.name} flatters"
    if exact:
        texts = len({corpus.texts[row] for row, _ in exact})
        found.append(
            Finding(
                LEAK,
                "error",
                f"{counted(texts, 'text')} of {here.name} ({len(exact):,} of its {size:,} rows, "
                f"{len(exact) / size:.1%}) also stand in {there}",
                remedy,
                *columns(exact),
            )
        )
    if near:
        share = f"{len(near):,} of the {counted(size, 'row')} of {here.name} ({len(near) / size:.1%})"
        words = f"{share} nearly stand in {there}"
        found.append(
            Finding(NEAR_LEAK, "error" if len(near) >= 0.01 * size else "warning", words, remedy, *columns(near))
        )
    return found


def columns(twins: Pairs) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """Pairs of a row and its twin as two columns."""
    return tuple(row for row, _ in twins), tuple(twin for _, twin in twins)


class Twins:
    """Rows that are alike, found once for all splits: exactly, or in what is plain of them."""

    def __init__(self, corpus: Corpus, rows: Rows):
        self.rows, self.part_of, self.texts = rows.tolist(), corpus.part_of, corpus.texts
        self.exact: dict[tuple[int, Text], int] = {}  # the first row of a split that holds this text
        number: dict[str, int] = {}
        self.key_of: dict[int, int] = {}
        self.rows_of: list[dict[int, list[int]]] = []  # of each key, the rows of each split, ascending
        for row in self.rows:
            part = int(self.part_of[row])
            key = self.key_of[row] = number.setdefault("\0".join(map(plain, corpus.sides(row))), len(number))
            if key == len(self.rows_of):
                self.rows_of.append({})
            self.rows_of[key].setdefault(part, []).append(row)
            self.exact.setdefault((part, self.texts[row]), row)
        alike: list[list[tuple[float, int]]] = [[(0.0, key)] for key in range(len(number))]  # itself, then the nearest
        for one, other, share in similar(list(number)):
            alike[one].append((-share, other))
            alike[other].append((-share, one))
        self.alike = [[key for _, key in (keys[0], *sorted(keys[1:]))] for keys in alike]

    def of(self, there: int, here: int) -> tuple[Pairs, Pairs]:
        """Rows of one split whose twin stands in another, or before them in the same: exactly, and only nearly."""
        exact, near = [], []
        for row in self.rows:
            if self.part_of[row] != here:
                continue
            same = self.exact.get((there, self.texts[row]), row)
            if same < row:
                exact.append((row, same))
                continue
            firsts = (self.rows_of[key].get(there, [row])[0] for key in self.alike[self.key_of[row]])
            twin = next((first for first in firsts if first < row), None)
            if twin is not None:
                near.append((row, twin))
        return exact, near

    def all_in(self, part: int, row: int) -> list[int]:
        """Every row of a split that is like this row, exactly or nearly."""
        return [twin for key in self.alike[self.key_of[row]] for twin in self.rows_of[key].get(part, ())]
