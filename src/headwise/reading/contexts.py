"""Contexts longer than a model: a question with each of the overlapping windows of its context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding

from headwise.errors import InputError, excerpt
from headwise.reading.batches import Rows
from headwise.reading.text import Text, TextTokenizer, Tokens

CHUNK = 256  # pairs tokenized at a time
OVERLAP = 128  # tokens that a window shares with the one before it (Devlin et al. 2019), where there is room for it


@dataclass(frozen=True, eq=False)
class Windows:
    """Where the n tokens of w windows stand in the contexts of b questions."""

    contexts: Sequence[str]  # [b]
    row: Rows  # [w] the question each window is for, ascending
    spans: npt.NDArray[np.int32]  # [n 2] a token's first character in the context, and just past its last; -1 outside

    @property
    def firsts(self) -> Rows:
        """The first window of each question. [b]"""
        return np.searchsorted(self.row, np.arange(len(self.contexts)))


def in_windows(tokenizer: TextTokenizer, pairs: Sequence[Text]) -> tuple[Tokens, Windows]:
    """b pairs of question and context -> w sequences of tokens, none of them longer than the tokenizer's max_length.

    Raises InputError for what is no pair, for one with an empty side, and for a question longer than half of that.
    """
    refuse_odd(pairs)
    special = tokenizer.tokenizer.num_special_tokens_to_add(is_pair=True)
    half = (tokenizer.max_length - special) // 2
    if half < 2:
        raise InputError(f"max_length {tokenizer.max_length} is too short for a question and its context; raise it")
    ids, types, lengths, rows, spans = [], [], [], [], []
    for start in range(0, len(pairs), CHUNK):
        with tokenizer.lock:
            wholes = encodings(tokenizer, pairs[start : start + CHUNK], half, start)
        for row, whole in enumerate(wholes, start):
            for window in (whole, *whole.overflowing):
                ids.append(np.array(window.ids, np.int32))
                types.append(tokenizer.types_of(window))
                inside = np.array([side == 1 for side in window.sequence_ids])
                spans.append(np.where(inside[:, None], np.array(window.offsets, np.int32), np.int32(-1)))
                lengths.append(len(window))
                rows.append(row)
    numbers, sizes, uncut = np.concatenate(ids), np.array(lengths), np.zeros(len(rows), np.int64)
    tokenizer.refuse_foreign(numbers)
    tokens = Tokens(numbers, np.concatenate(types), sizes, uncut, tokenizer.unknown_id)
    return tokens, Windows([pair[1] for pair in pairs], np.array(rows), np.concatenate(spans))


def encodings(tokenizer: TextTokenizer, pairs: Sequence[Text], half: int, start: int) -> list[Encoding]:
    """Some pairs as tokenizers' own objects, the first window of each, which knows the others.

    start: the number of the first, for messages. Raises InputError for a question of more than half the tokens.
    """
    own = tokenizer.tokenizer
    try:
        questions = own.encode_batch([tokenizer.capped(pair[0]) for pair in pairs], add_special_tokens=False)
        long = next((row for row, question in enumerate(questions) if len(question) > half), None)
        if long is not None:
            raise InputError(
                f"row {start + long + 1}: the question {excerpt(pairs[long][0])} has {len(questions[long])} tokens, "
                f"half of what the model reads is {half}; shorten it, a question is never cut"
            )
        own.enable_truncation(tokenizer.max_length, stride=min(OVERLAP, half // 2), strategy="only_second")
        return own.encode_batch(list(pairs))
    except InputError:
        raise
    except (TypeError, ValueError):  # how tokenizers refuses half a surrogate pair
        raise InputError("expected questions and contexts in valid Unicode; found something else") from None
    finally:
        own.no_truncation()


def refuse_odd(pairs: Sequence[Text]) -> None:
    """Raise InputError for what is no question with its context."""
    for row, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
            raise InputError(f"row {row + 1}: expected a question and its context, found {excerpt(str(pair))}")
        for name, side in zip(("question", "context"), pair, strict=True):
            if not side.strip():
                raise InputError(f"row {row + 1}: the {name} is empty; write one or leave the row out")
