"""From tokens to words: which piece of a text each position is, in English and in Chinese."""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding

from headwise.errors import InputError
from headwise.insight.question import Pieces, Word
from headwise.reading.text import Text, TextTokenizer
from headwise.reading.words import ends_of, read_words, spans_in

Spans = npt.NDArray[np.int64]  # [… 2] where each starts and ends

# Over the kinds of the characters (see kind): Chinese; letters and digits, with don't, 1,000 and 12.5 in one; and
# whatever else, each by itself but for what belongs to it, as the parts of an emoji do.
WORD = re.compile(r"(?:hm*)+|[ld][ldm]*(?:'l[ldm]*|[.]d[ldm]*)*|[^ ]m*(?:z[^ ]m*)*")


def pieces(tokenizer: TextTokenizer, text: Text) -> Pieces:
    """One text or pair as the model reads it, cut where TextTokenizer.encode cuts it, grouped into words."""
    (encoding,), _ = tokenizer.encodings([text])
    special = np.array(encoding.special_tokens_mask, bool)
    sides = np.array([-1 if side is None else side for side in encoding.sequence_ids])
    words: list[Word] = []
    word_of = np.full(len(encoding), -1)
    for side, own in enumerate((text,) if isinstance(text, str) else text):
        mine = np.flatnonzero(~special & (sides == side))
        spans, numbers = grouped(own, np.array(encoding.offsets, np.int64)[mine])
        word_of[mine] = np.where(numbers < 0, -1, numbers + len(words))
        words += [Word(own[start:end], start, end, side) for start, end in spans.tolist()]
    return Pieces(
        text, *numbered(tokenizer, encoding), tuple(encoding.tokens), tuple(words), word_of, tokenizer.mask_id
    )


def tagged_pieces(tokenizer: TextTokenizer, text: str) -> Pieces:
    """One text as a model reads it that tags words: no token is of two words, and each Chinese character is one.

    Raises InputError for a text longer than the model reads at once.
    """
    spans = spans_in(text)
    read = read_words(tokenizer, [text], [spans])
    if len(read.counts) != 1 or read.counts[0] > 1:
        raise InputError(f"the text is longer than the {tokenizer.max_length:,} tokens the model reads; explain a part")
    with tokenizer.lock:
        before, after = ends_of(tokenizer.tokenizer)
    ids = read.tokens.ids.astype(np.int64)
    begins, shared = (read.first >= 0) & ~read.shared, read.shared
    word_of = np.full(len(ids), -1)
    inside = np.arange(len(before), len(ids) - len(after))
    word_of[inside] = np.searchsorted(read.first[begins], inside, "right") - 1
    words: list[Word] = []
    for (start, end), new, joins in zip(spans.tolist(), begins, shared, strict=True):
        if joins:  # its letters touch those of the word before
            start = words.pop().start
        if new or joins:
            words.append(Word(text[start:end], start, end))
    names = tuple(str(tokenizer.tokenizer.id_to_token(number)) for number in ids.tolist())
    return Pieces(text, ids, np.zeros_like(ids), names, tuple(words), word_of, tokenizer.mask_id)


def numbered(tokenizer: TextTokenizer, encoding: Encoding) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ids and types. [t] each"""
    return np.array(encoding.ids, np.int64), tokenizer.types_of(encoding).astype(np.int64)


def grouped(text: str, offsets: Spans) -> tuple[Spans, npt.NDArray[np.int64]]:
    """Where the words are of which there is a piece, and the word of each piece: [w 2], [p], -1 where there is none.

    Words that one piece touches are one. A piece of blanks alone goes with the word behind it, as a blank that a
    tokenizer writes into the next token does; at the end of a text, with the last word.
    """
    offsets = np.array([stripped(text, start, end) for start, end in offsets.tolist()], np.int64).reshape(-1, 2)
    spans = segments(text[: offsets[:, 1].max(initial=0)])
    if not len(spans):
        return spans, np.full(len(offsets), -1)
    first = np.minimum(np.searchsorted(spans[:, 1], offsets[:, 0], "right"), len(spans) - 1)
    last = np.maximum(np.searchsorted(spans[:, 0], offsets[:, 1], "left") - 1, first)
    begins = np.ones(len(spans), bool)
    for one, other in zip(first, last, strict=True):
        begins[one + 1 : other + 1] = False
    used, numbers = np.unique((np.cumsum(begins) - 1)[first], return_inverse=True)
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(spans)) - 1
    return np.stack([spans[starts[used], 0], spans[ends[used], 1]], 1), numbers


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """A piece without the blanks around it; where it is nothing but blanks, the empty place behind them."""
    begin = end - len(text[start:end].lstrip())
    return begin, begin + len(text[start:end].strip())


def segments(text: str) -> Spans:
    """Where the words of a text are; everything but blanks is in one. [w 2]"""
    import rjieba

    found: list[tuple[int, int]] = []
    for match in WORD.finditer("".join(map(kind, text))):
        start, end = match.span()
        cuts = rjieba.cut(text[start:end]) if match[0].startswith("h") else [text[start:end]]
        ends = accumulate(map(len, cuts), initial=start)
        found += pairwise(ends)
    return np.array(found, np.int64).reshape(-1, 2)


def kind(character: str) -> str:
    """h Chinese, l letter, d digit, m mark on the one before, z joins two, ' and . join words, blank, or p."""
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if character == "\u200d":
        return "z"
    if category.startswith("M") or "\U0001f3fb" <= character <= "\U0001f3ff":  # the colours of skin
        return "m"
    if category == "Nd":
        return "d"
    if category[0] in "LN":
        return "h" if unicodedata.name(character, "").startswith(("CJK UNIFIED", "CJK COMPAT")) else "l"
    return {"'": "'", "’": "'", ".": ".", ",": "."}.get(character, "p")
