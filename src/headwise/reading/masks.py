"""Masks: some tokens of texts are hidden from a model that is to say what they are (arXiv:1810.04805, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from headwise.reading.batches import NOWHERE, Examples, PerToken
from headwise.reading.text import TextTokenizer, Tokens

SHARE = 0.15  # of a text's tokens are chosen, one at least
MASKED, OTHER = 0.8, 0.1  # of these are hidden by the mask, or by any other token; the rest stay as they are


@dataclass(frozen=True, eq=False)
class Whole:
    """Tokens before any is hidden, and the vocabulary that hidden ones are replaced from."""

    tokens: Tokens
    tokenizer: TextTokenizer
    ordinary: npt.NDArray[np.int32]  # the vocabulary without special tokens

    @staticmethod
    def of(tokens: Tokens, tokenizer: TextTokenizer) -> Whole:
        """With all of a vocabulary that the model has embeddings for."""
        every = np.array(sorted(tokenizer.tokenizer.get_vocab().values()), np.int32)
        known = every if tokenizer.vocab_size is None else every[every < tokenizer.vocab_size]
        return Whole(tokens, tokenizer, np.setdiff1d(known, np.array(tokenizer.special_ids)))

    def spelled(self, token: int) -> str:
        """A token as people read it."""
        return self.tokenizer.tokenizer.decode([token], skip_special_tokens=False).strip()


@lru_cache(maxsize=1)
def hidden(examples: Examples, seed: int, epoch: int) -> Examples:
    """Examples whose layout is Whole with some of its tokens hidden: a pure function of seed, epoch and position.

    The model is asked at the chosen positions, and its targets are what stood there. A sequence of special tokens
    only is asked at its first position, which does not count.
    """
    whole: Whole = examples.layout
    tokens, generator = whole.tokens, np.random.default_rng([seed, epoch])
    noise, fate = generator.random((2, len(tokens.ids)))
    others = generator.choice(whole.ordinary, len(tokens.ids))
    picked = chosen(tokens, np.isin(tokens.ids, whole.ordinary), noise)  # [n]
    ids = np.where(picked & (fate < MASKED), np.int32(whole.tokenizer.mask_id or 0), tokens.ids)
    ids = np.where(picked & (fate >= MASKED) & (fate < MASKED + OTHER), others, ids)
    asked = picked.copy()
    asked[tokens.starts[np.add.reduceat(picked, tokens.starts, dtype=np.int64) == 0]] = True
    targets = PerToken(examples, np.where(picked, tokens.ids, NOWHERE).astype(np.int64))
    return replace(examples, tokens=replace(tokens, ids=ids), targets=targets, asked=asked)


def chosen(tokens: Tokens, ordinary: npt.NDArray[np.bool_], noise: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """SHARE of each sequence's ordinary tokens, those with the least noise. [n], [n] -> [n]"""
    sequence = np.repeat(np.arange(len(tokens)), tokens.lengths)
    order = np.lexsort((np.where(ordinary, noise, np.inf), sequence))  # sequence by sequence, special tokens last
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(tokens.starts, tokens.lengths)
    counts = np.add.reduceat(ordinary, tokens.starts, dtype=np.int64)
    return ordinary & (rank < np.maximum(np.round(SHARE * counts), 1)[sequence])
