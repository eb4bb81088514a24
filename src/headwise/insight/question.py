"""What is explained: one input in words, and the one number of the model's answer that is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from headwise.core.packed import Packed
from headwise.reading.text import Text


@dataclass(frozen=True)
class Word:
    """A word of the text, whole: an English word, a Chinese word, a number, a punctuation mark.

    start and end count characters of its own text: text[start:end] is the word.
    """

    text: str
    start: int
    end: int
    side: int = 0  # 1 in the second text of a pair


@dataclass(frozen=True, eq=False)
class Pieces:
    """One input as the model reads it: t positions, each of which is a piece of one of w words, or special."""

    text: Text
    ids: npt.NDArray[np.int64]  # [t]
    types: npt.NDArray[np.int64]  # [t]
    names: tuple[str, ...]  # [t] the tokens, as their tokenizer writes them
    words: tuple[Word, ...]  # [w]
    word_of: npt.NDArray[np.int64]  # [t] the word of each position, -1 where it is a special token
    mask: int | None = None  # the id that stands for a word one is not told, where the tokenizer has one
    stays: bool = False  # whether a word that is not kept leaves its place, to the mask, so that no other moves

    @cached_property
    def special(self) -> npt.NDArray[np.bool_]:
        """Which positions are the model's own marks and belong to no word. [t]"""
        return self.word_of < 0

    def packed(self, kept: npt.NDArray[np.bool_] | None = None) -> tuple[Packed, Tensor]:
        """The input as a batch of one, or once for each row of kept [k w], without the words that are not kept.

        Returns ids and types, [n] each. Special tokens always stay, so no sequence is empty.
        """
        if kept is None:
            kept = np.ones((1, len(self.words)), bool)
        stays = np.concatenate([kept, np.ones((len(kept), 1), bool)], 1)[:, self.word_of]  # [k t]
        if self.stays:
            assert self.mask is not None  # see subject.in_place
            masked = np.where(stays, self.ids, self.mask)
            return Packed.of(list(torch.from_numpy(masked))), torch.from_numpy(np.tile(self.types, len(kept)))
        ids = Packed.of([torch.from_numpy(self.ids[row]) for row in stays])
        return ids, torch.cat([torch.from_numpy(self.types[row]) for row in stays])

    def by_word(self, positions: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """The sum over each word's pieces. [t] -> [w]"""
        sums = np.zeros(len(self.words))
        np.add.at(sums, self.word_of[~self.special], positions[~self.special])
        return sums


@dataclass(frozen=True)
class Question:
    """The number that is explained: a label's logit, or how far it lies above another's ('why A and not B')."""

    label: int
    against: int | None = None

    def of(self, outputs: Tensor) -> Tensor:
        """One number per sequence from logits, or from probabilities. [b c] -> [b]"""
        asked = outputs[:, self.label]
        return asked if self.against is None else asked - outputs[:, self.against]


@dataclass(frozen=True)
class Odds(Question):
    """The same of labels that exclude each other: the log odds of one, against another or against all others.

    To be asked of logits. One of these by itself may stand still while the answer changes, or move while it does
    not: only how far it lies above the others reaches the probabilities.
    """

    def of(self, outputs: Tensor) -> Tensor:
        """[b c] -> [b]"""
        if self.against is not None:
            return super().of(outputs)
        others = torch.arange(outputs.shape[1]) != self.label
        return outputs[:, self.label] - outputs[:, others].logsumexp(1)


@torch.inference_mode()
def logits_keeping(model: nn.Module, pieces: Pieces, kept: npt.NDArray[np.bool_], most_tokens: int = 8192) -> Tensor:
    """The model's logits where only some words are kept, for each row of kept. [k w] -> [k c]"""
    model.eval()
    rows = max(1, most_tokens // len(pieces.ids))
    return torch.cat([model(*pieces.packed(kept[start : start + rows])) for start in range(0, len(kept), rows)])
