"""Words that stand apart: joined to a text, found in a text, and tied to the tokens a model reads of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast
from unicodedata import category

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Encoding, Tokenizer
from tokenizers.pre_tokenizers import Metaspace

from headwise.errors import InputError, excerpt
from headwise.reading.records import Records
from headwise.reading.text import CHUNK, Text, Texts, TextTokenizer, Tokens

Spans = npt.NDArray[np.int64]  # [w 2] where each of w words begins and ends in its text, in characters

UNSPACED = (
    r"\u2e80-\u30ff\u31c0-\u9fff\uf900-\ufaff\U00020000-\U000323af"
    r"\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff9f"  # wide marks, but not wide letters
)
"""Chinese characters, kana, and their punctuation: no blank stands between these."""
ATTACHED = "".join(
    one
    for one in map(chr, (*range(0x300, 0x3100), *range(0xFE00, 0xFE30), 0xFEFF))
    if category(one) in ("Mn", "Mc", "Me", "Cf")
)
"""Accents, vowel signs, joiners, variants: what is written on or after a character and is a part of it."""
PLAIN = rf"[^\W_{UNSPACED}]"
LETTER = rf"(?:{PLAIN}[{ATTACHED}]*)"
WORD = re.compile(rf"(?:{LETTER}\.){{2,}}|{LETTER}+(?:[-&/]{LETTER}+|(?<=\d)[.,:]\d+)*|['’]{LETTER}+|\S[{ATTACHED}]*")
"""U.S., 1,000 and all-rounder are one word; a mark is one, and so is every Chinese character."""
NO_BLANK = re.compile(rf"[{UNSPACED}]")
GLUED = re.compile(PLAIN)


@dataclass(frozen=True, eq=False)
class Words(Texts):
    """A column of lists of words: as texts, and where the words stand in them."""

    lists: pa.ChunkedArray = None

    @staticmethod
    def of(records: Records, column: str) -> Words:
        """Raises InputError at a word without a character in it."""
        lists = records.table[column]
        texts = []
        for row, words in enumerate(lists.to_pylist()):
            if not all(map(str.strip, words)):
                empty = next(place for place, word in enumerate(words) if not word.strip())
                raise InputError(
                    f"{records.where(row)}: word {empty + 1} of {len(words)} in column {column} is "
                    f"{excerpt(words[empty])}; delete it together with its tag"
                )
            texts.append("".join(joined(words)))
        return Words(pa.chunked_array([pa.array(texts, pa.string())]), None, lists)

    def take(self, rows: npt.NDArray[np.int64]) -> Words:
        """These rows, in this order."""
        at = pa.array(rows)
        return Words(self.first.take(at), None, self.lists.take(at))

    def spans(self, row: int) -> Spans:
        """Where the words of a row stand in its text."""
        pieces = joined(self.lists[row].as_py())
        edges = np.cumsum([0, *map(len, pieces)])
        return np.stack([edges[:-1:2], edges[1::2]], 1)


def joined(words: Sequence[str]) -> list[str]:
    """The words, and what stands between each two of them: a blank, but nothing beside Chinese characters.

    Characters that were all taken apart, among them some Chinese, are put together again without blanks.
    """
    apart = all(len(word) == 1 for word in words) and any(map(NO_BLANK.match, words))
    pieces = [*words[:1]]
    for one, other in pairwise(words):
        pieces += ["" if apart or NO_BLANK.match(one[-1]) or NO_BLANK.match(other[0]) else " ", other]
    return pieces


def spans_in(text: str) -> Spans:
    """Where the words of a plain text stand."""
    return np.array([match.span() for match in WORD.finditer(text)], np.int64).reshape(-1, 2)


def singles(texts: Sequence[Text]) -> Sequence[str]:
    """The texts. Raises InputError for what is no text, or two."""
    if not isinstance(texts, Texts) and not all(isinstance(text, str) for text in texts):
        raise InputError("expected single texts to find words in, found something else, such as a pair")
    return cast(Sequence[str], texts)


def spans_of(texts: Sequence[str]) -> list[Spans]:
    """Of every text: the words it was joined of, or else those found in it."""
    if isinstance(texts, Words):
        return [texts.spans(row) for row in range(len(texts))]
    return [spans_in(text) for text in texts]


@dataclass(frozen=True, eq=False)
class Read:
    """b texts as windows of tokens, and where their words are among these."""

    tokens: Tokens
    counts: npt.NDArray[np.int64]  # [b] windows of each text
    first: npt.NDArray[np.int64]  # [all words] the place of a word's first token among the n; -1: it has none
    words: npt.NDArray[np.int64]  # [b] words of each text

    @property
    def shared(self) -> npt.NDArray[np.bool_]:
        """Words whose token is the word's before them, too: their letters touch. [all words]"""
        return (self.first >= 0) & (self.first == np.append(-1, self.first[:-1]))


def read_words(tokenizer: TextTokenizer, texts: Sequence[str], spans: Sequence[Spans]) -> Read:
    """Tokens of texts whose words are never merged into one, but for letters that touch.

    A text longer than the model can take is read in windows that share a quarter of their tokens; a word's place is
    in the window where it stands farthest from the edges. So nothing is cut.
    """
    with tokenizer.lock:
        before, after = ends_of(tokenizer.tokenizer)
    room = tokenizer.max_length - len(before) - len(after)
    if room < 1:
        raise InputError(f"max_length {tokenizer.max_length}: no room for a word; give more")
    ids: list[npt.NDArray[np.int32]] = []
    lengths, counts, first, total = [], [], [], 0
    for start in range(0, len(texts), CHUNK):
        some = slice(start, start + CHUNK)
        with tokenizer.lock:
            pieces = list(pieces_of(tokenizer.tokenizer, texts[some], spans[some]))
        for row_ids, at in pieces:
            windows, home = windowed(len(row_ids), room)
            sizes = np.array([len(window) for window in windows]) + len(before) + len(after)
            begins = total + np.cumsum(sizes) - sizes + len(before)
            mine = home[at]
            inside = at - np.array([window.start for window in windows])[mine]
            first.append(np.where(at < 0, -1, begins[mine] + inside))
            ids += [np.concatenate([before, row_ids[window.start : window.stop], after]) for window in windows]
            lengths += sizes.tolist()
            counts.append(len(windows))
            total += int(sizes.sum())
    flat = np.concatenate(ids).astype(np.int32)
    cut = np.zeros(len(lengths), np.int64)
    tokens = Tokens(flat, np.zeros(len(flat), np.int8), np.array(lengths), cut, tokenizer.unknown_id)
    tokenizer.refuse_foreign(flat)
    return Read(tokens, np.array(counts), np.concatenate(first), np.array([len(mine) for mine in spans]))


def windowed(length: int, room: int) -> tuple[list[range], npt.NDArray[np.int64]]:
    """Windows over so many tokens that share a quarter of their room, and of each token the one it is farthest inside.

    -> k ranges, [length + 1]; the last is for what has no token.
    """
    shared = room // 4 if length > room else 0
    stride = room - shared
    count = max(1, -(-(length - shared) // stride))
    windows = [range(number * stride, min(number * stride + room, length)) for number in range(count)]
    return windows, np.clip((np.arange(length + 1) - shared // 2) // stride, 0, count - 1)


def pieces_of(
    tokenizer: Tokenizer, texts: Sequence[str], spans: Sequence[Spans]
) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]]:
    """Of every text its tokens, special ones left out, and the place of each word's first among them, -1 for none."""
    units = [units_of(text, mine) for text, mine in zip(texts, spans, strict=True)]
    with blanks_only_where_given(tokenizer) as lead:
        given = [
            [f"{' ' if blank or (lead and not number) else ''}{text[a:b]}" for number, (a, b, blank) in enumerate(mine)]
            for text, mine in zip(texts, units, strict=True)
        ]
        try:
            encodings = tokenizer.encode_batch(given, is_pretokenized=True, add_special_tokens=False)
        except (TypeError, ValueError):  # how tokenizers refuse half a surrogate pair
            raise InputError("expected texts in valid Unicode, found half a surrogate pair; remove it") from None
    for encoding, mine, strings, words in zip(encodings, units, given, spans, strict=True):
        shift = np.array([b - len(string) for (_, b, _), string in zip(mine, strings, strict=True)], np.int64)
        yield np.array(encoding.ids, np.int32), places(encoding, mine, shift, words)


def places(
    encoding: Encoding, units: list[tuple[int, int, bool]], shift: npt.NDArray[np.int64], words: Spans
) -> npt.NDArray[np.int64]:
    """The token that each word begins in, -1 where there is none. [w]"""
    if not len(encoding) or not len(words):
        return np.full(len(words), -1)
    unit_of_token = np.array(encoding.word_ids)
    ends = np.array(encoding.offsets)[:, 1] + shift[unit_of_token]
    found = np.minimum(np.searchsorted(np.maximum.accumulate(ends), words[:, 0], side="right"), len(ends) - 1)
    unit_of_word = np.searchsorted([start for start, _, _ in units], words[:, 0], side="right") - 1
    return np.where(unit_of_token[found] == unit_of_word, found, -1)


def units_of(text: str, spans: Spans) -> list[tuple[int, int, bool]]:
    """What is given to the tokenizer one by one: words, those together whose letters touch.

    Of each where it begins and ends, and whether a blank stands before it.
    """
    units: list[tuple[int, int, bool]] = []
    for start, end in spans.tolist():
        touches = bool(units) and units[-1][1] == start
        if touches and GLUED.match(text[start - 1]) and GLUED.match(text[start]):
            units[-1] = (units[-1][0], end, units[-1][2])
        else:
            units.append((start, end, bool(units) and not touches))
    return units


@contextmanager
def blanks_only_where_given(tokenizer: Tokenizer) -> Iterator[bool]:
    """Inside, SentencePiece's tokenizers add no blank of their own before a word; says whether they would have."""
    usual: Any = tokenizer.pre_tokenizer
    adds = "Metaspace" in str(usual)
    if adds:
        tokenizer.pre_tokenizer = Metaspace(prepend_scheme="never")
    try:
        yield adds
    finally:
        tokenizer.pre_tokenizer = usual


def ends_of(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    encoding = tokenizer.encode("a")
    inside = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
    return encoding.ids[: inside[0]], encoding.ids[inside[-1] + 1 :]
