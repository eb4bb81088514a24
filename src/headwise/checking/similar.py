"""Which texts are nearly the same: MinHash finds the candidates, their shingles decide."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, groupby, pairwise

import numpy as np
import numpy.typing as npt

from headwise.reading.batches import Rows

SIZE = 3  # characters of a shingle
SHORT = (12, 40)  # characters of a text in which one slip leaves fewer shingles than SIMILAR
SIMILAR = 0.7  # of all shingles of two texts, the share that both have; about one character in twenty differs
BANDS, WIDTH = 30, 5  # a pair that shares 0.7 of its shingles is a candidate with probability 0.996
CROWDED = 40  # texts in one bucket above which not every pair of them is looked at
MOST = 5_000  # characters of a text that are looked at
CHUNK = 1 << 21  # characters hashed at a time


@cache
def dropped() -> dict[int, None]:
    """The characters that do not count: punctuation, blanks, control characters."""
    return {code: None for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] in "PZC"}


def plain(text: str) -> str:
    """Its letters, digits and symbols, without regard to case and width; the text itself where there are none."""
    return unicodedata.normalize("NFKC", text[:MOST]).casefold().translate(dropped()) or text[:MOST].strip()


def similar(texts: Sequence[str]) -> Iterator[tuple[int, int, float]]:
    """Pairs of different texts (the first number the smaller), and how much they resemble each other.

    Of the shingles of both they share SIMILAR, or, where they are short, one slip of the pen tells them apart.
    Of texts in several parts, with NULs between, each part has to share so much.
    """
    shingled = cache(lambda number: [shingles(part) for part in texts[number].split("\0")])
    short = slips(texts)
    for one, other in short | {(one, other) for one, other in candidates(texts) if (one, other) not in short}:
        share = min(map(resemblance, shingled(one), shingled(other)))
        if share >= SIMILAR or (one, other) in short:
            yield one, other, share


def slips(texts: Sequence[str]) -> set[tuple[int, int]]:
    """Pairs of short texts that are the same once one character at most is left out of each.

    So a letter too many, too few, wrong, or swapped with the next one. (Symmetric deletion, as in SymSpell.)
    """
    same: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        if SHORT[0] <= len(text) <= SHORT[1] and "\0" not in text:
            for left in {text, *(text[:at] + text[at + 1 :] for at in range(len(text)))}:
                same.setdefault(left, []).append(number)
    return {pair for rows in same.values() if len(rows) > 1 for pair in paired(rows)}


def paired(rows: list[int]) -> Iterator[tuple[int, int]]:
    """Every two of these (ascending), or of many each with the next."""
    return iter(combinations(rows, 2) if len(rows) <= CROWDED else pairwise(rows))


def shingles(text: str) -> frozenset[str]:
    """All runs of SIZE characters; a shorter text is one."""
    return frozenset(text[at : at + SIZE] for at in range(max(len(text) - SIZE + 1, 1)))


def resemblance(ours: frozenset[str], theirs: frozenset[str]) -> float:
    """Of all shingles of two texts, the share that both have."""
    both = len(ours & theirs)
    return both / (len(ours) + len(theirs) - both)


def signatures(texts: Sequence[str]) -> npt.NDArray[np.uint32]:
    """The smallest value of each hash function over a text's shingles. [b BANDS · WIDTH]"""
    random = np.random.default_rng(0)
    factors = random.integers(1 << 63, size=BANDS * WIDTH, dtype=np.uint64) | np.uint64(1)
    shifts = random.integers(1 << 63, size=BANDS * WIDTH, dtype=np.uint64)
    found, start = [], 0
    sizes = np.array([len(text) for text in texts])
    ends = np.cumsum(sizes)
    while start < len(texts):
        end = max(start + 1, int(np.searchsorted(ends, ends[start] + CHUNK)))
        hashed, starts = hashes(texts[start:end])
        marks = np.empty((end - start, BANDS * WIDTH), np.uint32)
        for number, (factor, shift) in enumerate(zip(factors, shifts, strict=True)):
            marks[:, number] = np.minimum.reduceat(
                ((hashed * factor + shift) >> np.uint64(32)).astype(np.uint32), starts
            )
        found.append(marks)
        start = end
    return np.concatenate(found)


def hashes(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint64], Rows]:
    """A number for each shingle [s], and where each text's begin [b]."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.uint64)
    sizes = np.array([len(text) for text in texts])
    counts = sizes - SIZE + 1
    starts = np.cumsum(counts) - counts
    at = np.arange(counts.sum()) + np.repeat(np.cumsum(sizes) - sizes - starts, counts)
    mixed = codes[at]
    for step in range(1, SIZE):
        mixed = (mixed * np.uint64(0x9E3779B97F4A7C15)) ^ codes[at + step]
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(32)), starts


def candidates(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of texts that probably share SIMILAR of their shingles, each once.

    Broder 1997, On the resemblance and containment of documents; the bands of Leskovec et al., Mining of Massive
    Datasets, section 3.4. A pair that does share so much is missed with a probability of less than 0.005.
    """
    long = [number for number, text in enumerate(texts) if len(text) > SIZE]
    if len(long) < 2:
        return
    marks = signatures([texts[number] for number in long])  # [long BANDS · WIDTH]
    pairs: set[tuple[int, int]] = set()
    for band in np.split(marks, BANDS, axis=1):  # [long WIDTH]
        order = np.lexsort(band.T)
        same = (band[order[1:]] == band[order[:-1]]).all(1)
        bucket_of = np.concatenate([[0], np.cumsum(~same)])
        crowded = np.bincount(bucket_of)[bucket_of] > 1
        members = zip(bucket_of[crowded].tolist(), order[crowded].tolist(), strict=True)
        for _, bucket in groupby(members, lambda one: one[0]):
            pairs.update(paired(sorted(row for _, row in bucket)))
    found = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    for some in np.array_split(found, len(found) // 100_000 + 1):
        agree = (marks[some[:, 0]] == marks[some[:, 1]]).mean(1)
        for one, other in some[agree >= SIMILAR - 0.15].tolist():  # four standard deviations of the estimate
            yield long[one], long[other]
