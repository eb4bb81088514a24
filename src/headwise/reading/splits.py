"""Splitting rows into parts that share no text, finding texts two files share, and guessing a file's language."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwise.errors import InputError, listing

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of each part, ascending, and notes on what could not be done."""

    parts: tuple[Rows, ...]
    notes: tuple[str, ...]


def split(texts: Any, labels: Any, fractions: Sequence[float], seed: int) -> Split:
    """Parts of these fractions, drawn at random within each label; rows of the same text land in the same part.

    texts: an Arrow array or sequence of texts or lists of texts.
    labels: an array of as many labels (numbers or texts), or None. A text with several labels counts under its first.
    A class with fewer texts than there are parts goes to the first part, and a note says so.

    Raises InputError where the fractions are no fractions of a whole, or there are too few texts to fill every part.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(f"split {', '.join(map(str, fractions))}: expected fractions above 0 that add up to 1")
    group_of_row = _codes(texts)
    first_rows, sizes = np.unique(group_of_row, return_index=True, return_counts=True)[1:]
    names, classes = _classes(labels, len(group_of_row))
    class_of_group = classes[first_rows]
    shuffled = np.random.Generator(np.random.PCG64(seed)).permutation(len(sizes))
    by_class = shuffled[np.argsort(class_of_group[shuffled], kind="stable")]
    starts = np.flatnonzero(np.diff(class_of_group[by_class], prepend=-1))
    part_of_group = np.zeros(len(sizes), np.int64)
    small = []
    for groups in np.split(by_class, starts[1:]):
        if len(groups) < len(fractions):
            small.append(names[class_of_group[groups[0]]])
        else:
            part_of_group[groups] = _allot(sizes[groups], fractions)
    part_of_row = part_of_group[group_of_row]
    parts = tuple(np.flatnonzero(part_of_row == part) for part in range(len(fractions)))
    if not all(len(part) for part in parts):
        raise InputError(
            f"{len(sizes)} distinct texts in {len(names)} classes are too few to split into {len(fractions)} parts; "
            "give each part a file of its own, or more texts"
        )
    note = f"only in the first part, with fewer than {len(fractions)} distinct texts: label {listing(small)}"
    return Split(parts, (note,) if small else ())


def _codes(texts: Any) -> Rows:
    """A number for each distinct text, in order of appearance."""
    return np.asarray(_dictionary(_one_text_a_row(texts)).indices, np.int64)


def _classes(labels: Any, count: int) -> tuple[list[str], Rows]:
    if labels is None:
        return [""], np.zeros(count, np.int64)
    encoded = _dictionary(labels)
    return [str(name) for name in encoded.dictionary.to_pylist()], np.asarray(encoded.indices, np.int64)


def _dictionary(values: Any) -> Any:
    array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
    encoded = array.dictionary_encode()
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


def _one_text_a_row(texts: Any) -> Any:
    """The texts as an Arrow array; a list of texts becomes one, joined by NULs, which no text holds."""
    array = texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(texts)
    return pc.binary_join(array, "\0") if pa.types.is_list(array.type) else array


def _allot(sizes: Rows, fractions: Sequence[float]) -> Rows:
    """The part of each group, in order: about these fractions of the rows, and one group at least for each part."""
    middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    counts = np.bincount(np.searchsorted(np.cumsum(fractions)[:-1], middles, side="right"), minlength=len(fractions))
    for empty in np.flatnonzero(counts == 0):
        counts[counts.argmax()] -= 1
        counts[empty] = 1
    return np.repeat(np.arange(len(fractions)), counts)


def shared_texts(first: Any, second: Any) -> tuple[int, int]:
    """How many distinct texts of the second occur in the first, and how many rows of the second hold them."""
    texts = _one_text_a_row(second)
    shared = texts.filter(pc.is_in(texts, value_set=pc.unique(_one_text_a_row(first))))
    return len(pc.unique(shared)), len(shared)


_ENGLISH = {
    "the", "of", "and", "to", "that", "you", "this", "with", "what", "my", "how", "are", "not", "have", "for", "your",
    "it", "from",
}  # fmt: skip


def script(texts: Any) -> str:
    """The language as far as its letters tell: 'Chinese', 'English', 'Chinese and English', 'Latin script' or
    'unknown script'. Looks at the beginnings of at most 2,000 rows, spread evenly."""
    array = _one_text_a_row(texts)
    rows = np.unique(np.linspace(0, len(array) - 1, num=min(2000, len(array))).astype(np.int64))
    sample = "\n".join(pc.utf8_slice_codeunits(array.take(pa.array(rows)), 0, 500).to_pylist())
    letters = len(re.findall(r"[^\W\d_]", sample))
    words = re.findall("[A-Za-z\u00c0-\u024f]+", sample)
    chinese = len(re.findall("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]", sample))
    if 2 * (chinese + sum(map(len, words))) <= letters or not letters:
        return "unknown script"
    share = chinese / (chinese + len(words))  # a Chinese character weighs as much as a Latin word
    if share >= 0.2:
        return "Chinese" if share >= 0.8 else "Chinese and English"
    english = sum(word.lower() in _ENGLISH for word in words)
    return "English" if english >= 0.03 * len(words) else "Latin script"
