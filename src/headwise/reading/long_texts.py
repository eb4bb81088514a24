"""Texts longer than a model reads, as windows of what it can: each begins with the end of the one before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding

from headwise.reading.batches import Examples
from headwise.reading.text import CHARACTERS_PER_TOKEN, Text, TextTokenizer, Tokens, characters

MOST_WINDOWS = 16  # of one text unless told otherwise: some 7,000 tokens where a model reads 512
OVERLAP = 1 / 8  # of a window with the one before, so that few sentences are seen in halves only
ROOM = 1 / 4  # of a window that the other text of a pair must leave


def windows(
    tokenizer: TextTokenizer, texts: Sequence[Text], most: int | None = None
) -> tuple[Tokens, npt.NDArray[np.int64] | None]:
    """b texts or pairs -> Tokens of their k windows, and how many each text has [b]; None: one each.

    A text longer than tokenizer.max_length is read in so many windows at most, else tokenizer.max_windows; what they do
    not reach is counted as cut from the last. Of a pair the longer text is, and each window holds the other one whole;
    where that leaves no room, the pair is cut as without windows. Raises InputError as TextTokenizer.encode does.
    """
    tokens, most = tokenizer.encode(texts), most or tokenizer.max_windows
    long = np.flatnonzero(tokens.cut)
    if most == 1 or not len(long):
        return tokens, None
    wholes = tokens.lengths + tokens.cut
    with tokenizer.lock:
        windows = [windows_of(tokenizer, texts[int(row)], int(wholes[row]), most) for row in long]
    found = [some or tokens.select(np.array([row])) for row, some in zip(long, windows, strict=True)]
    every = Tokens.joined([tokens, *found])
    rows = np.concatenate([np.arange(len(tokens)), np.repeat(long, [len(one) for one in found])])  # of each of every
    kept = np.delete(np.arange(len(rows)), long)
    return every.select(kept[np.argsort(rows[kept], kind="stable")]), np.bincount(rows[kept])


def windows_of(tokenizer: TextTokenizer, text: Text, whole: int, most: int) -> Tokens | None:
    """One text of so many tokens, or a pair, in so many windows at most; None for a pair that leaves them no room.

    The tokenizer's lock is held meanwhile.
    """
    characters_read = tokenizer.max_length * most * CHARACTERS_PER_TOKEN
    text = tokenizer.squeezed(text)
    sides = [side[:characters_read] for side in ((text,) if isinstance(text, str) else text)]
    own, overlap = tokenizer.tokenizer, int(tokenizer.max_length * OVERLAP)
    sizes = [len(own.encode(side, add_special_tokens=False)) for side in sides]
    longer = int(np.argmax(sizes))
    around = own.num_special_tokens_to_add(len(sides) == 2) + sum(sizes) - sizes[longer]  # in every window
    if tokenizer.max_length - around <= max(tokenizer.max_length * ROOM, overlap):
        return None
    own.enable_truncation(tokenizer.max_length, stride=overlap, strategy="only_second" if longer else "only_first")
    first = own.encode(sides[0], sides[1] if len(sides) == 2 else None)
    own.no_truncation()
    made: list[Encoding] = [first, *first.overflowing][:most]
    lengths = np.array([len(one) for one in made])
    reached = int(around + (lengths - around).sum() - overlap * (len(made) - 1))
    cut = np.zeros(len(made), np.int64)
    if len(first.overflowing) >= most or characters(text) > sum(map(len, sides)):
        cut[-1] = max(whole - reached, 1)
    ids = np.concatenate([np.array(one.ids, np.int32) for one in made])
    types = np.concatenate([tokenizer.types_of(one) for one in made])
    return Tokens(ids, types, lengths, cut, tokenizer.unknown_id)


def in_transformers(tokenizer: TextTokenizer) -> str:
    """How to get the same from transformers, for a model card."""
    most, overlap = tokenizer.max_length, int(tokenizer.max_length * OVERLAP)
    return f"""
A text longer than {most} tokens is read in windows of {most}, at most {tokenizer.max_windows}, each of which begins
with the last {overlap} of the one before; the text's logits are the mean of its windows'. With transformers:

```python
windows = tokenizer(
    text, truncation=True, stride={overlap}, return_overflowing_tokens=True, padding=True, return_tensors="pt"
)
windows.pop("overflow_to_sample_mapping")
logits = model(**windows).logits[:{tokenizer.max_windows}].mean(0)
```
"""


def sizes(name: str, examples: Examples, tokenizer: TextTokenizer, apart: bool = False) -> str:
    """How long the texts of a split are, and what became of those longer than the model reads.

    apart: a row's several sequences are its two texts, not windows.
    """
    tokens, most = examples.tokens, tokenizer.max_length
    counts = examples.sequences_of_rows
    rows, lost = len(counts), int(tokens.cut.sum())
    cut = int((np.add.reduceat(tokens.cut, counts.cumsum() - counts) > 0).sum())  # rows
    said = f"{name}: {rows:,} rows, {len(tokens.ids):,} tokens, {len(tokens.ids) / rows:.0f} a row"
    if len(tokens) > rows and not apart:
        longer = int(np.count_nonzero(counts > 1))
        said += f", {longer:,} rows longer than {most} read in {len(tokens) - rows + longer:,} windows"
    if not cut:
        each = "" if len(tokens) == rows else "text " if apart else "window "
        return f"{said}, the longest {each}{tokens.lengths.max()} of {most} possible, nothing cut"
    share = lost / (lost + len(tokens.ids))
    return f"{said}; cut at {most}: {cut:,} rows ({cut / rows:.1%}) lose {lost:,} tokens ({share:.1%} of all)"
