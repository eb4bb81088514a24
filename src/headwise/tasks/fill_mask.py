"""Fill-mask: the words that would stand where a text has the tokenizer's mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from headwise.errors import InputError, excerpt
from headwise.families.family import Purpose
from headwise.judging import masks
from headwise.judging.intervals import Drawn
from headwise.judging.masks import METRICS, MaskScores
from headwise.judging.sections import Findings
from headwise.reading.batches import NOWHERE, Batch, Examples
from headwise.reading.columns import Columns
from headwise.reading.long_texts import windows
from headwise.reading.masks import Whole, hidden
from headwise.reading.records import Records
from headwise.reading.text import Text, TextTokenizer, Tokens
from headwise.tasks.task import Array, Task

TOP = 5  # words a mask is answered with, as many as transformers' pipeline gives
WINDOWS = 10_000  # in which a text is learned from at most
ALIKE = 0  # the seed of what is hidden of held-out texts: the same for every model, so that they can be compared


@dataclass(frozen=True)
class FillMask(Task):
    """A masked language model (arXiv:1810.04805, section 3.1), which learns the words of texts that are hidden from it.

    The texts are their own truth, so that is empty [b 0]. Answers are those of judging/masks.py [b 3]. A text longer
    than the model is read in windows, each a row of its own.
    """

    name: ClassVar[str] = "fill-mask"
    purpose: ClassVar[Purpose] = "ForMaskedLM"
    needs_label: ClassVar[bool | None] = False
    metrics: ClassVar[Mapping[str, str]] = METRICS

    labels: tuple[str, ...] = ()

    @classmethod
    def fits(cls, records: Records, columns: Columns) -> bool:
        """Never: whoever wants it says so."""
        return False

    @classmethod
    def of_table(
        cls, records: Records, columns: Columns, separator: str | None = None, known: Sequence[str] = ()
    ) -> FillMask:
        """Any texts will do. Raises InputError for pairs."""
        if columns.pair is not None:
            raise InputError(
                f"{records.path}: {cls.name} learns from single texts, found {columns.text} and {columns.pair}; "
                "name one with --text-column"
            )
        return cls()

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...]) -> FillMask:
        """Whatever labels a config may hold, they are not of this."""
        return cls()

    @property
    def metric(self) -> str:
        """What early stopping watches unless told otherwise."""
        return "log_likelihood"

    @property
    def kind(self) -> str:
        """A few words about it for the notes."""
        return "some words of each text are hidden and to be found"

    def keeps_head(self, known: Sequence[str] | None) -> bool:
        """Always: the words are those of the tokenizer."""
        return True

    def truth(self, records: Records, columns: Columns, separator: str | None = None) -> Array:
        """Nothing but the texts. [b 0]"""
        return np.zeros((len(records), 0))

    def examples(self, tokenizer: TextTokenizer, texts: Sequence[Text], truth: Array | None = None) -> Examples:
        """To be learned and judged by, whole texts some tokens of which are hidden; else those that ask, as they are.

        Raises InputError for a text that asks nothing where the model reads, and for a tokenizer without a mask.
        """
        if tokenizer.mask_id is None:
            raise InputError("the tokenizer has no mask, so there is nothing to fill; take a masked language model")
        if truth is None:
            return asking(tokenizer, texts)
        tokens, counts = windows(tokenizer, texts, WINDOWS)
        origin = np.arange(len(texts)) if counts is None else np.repeat(np.arange(len(texts)), counts)
        whole = Whole.of(tokens, tokenizer)
        found = hidden(Examples(tokens, truth=truth, layout=whole, origin=origin), ALIKE, 0)
        if not (found.targets.values != NOWHERE).any():
            raise InputError("no text has a token the model knows, so there is nothing to hide; try another --model")
        return found

    def of_epoch(self, examples: Examples, seed: int, epoch: int) -> Examples:
        """With other tokens hidden."""
        return hidden(examples, seed, epoch)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The sum over each sequence's masks. outputs [m v] -> [b]"""
        assert batch.asked is not None
        each = self.at_masks(outputs, batch)  # [m]
        lengths = batch.ids.lengths
        return each.new_zeros(len(lengths.each)).index_add(0, lengths.sequence[batch.asked], each)

    def at_masks(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The loss at each position that was asked about, 0 where that does not count. [m v] -> [m]"""
        assert batch.targets is not None and batch.asked is not None
        return F.cross_entropy(outputs, batch.targets[batch.asked], ignore_index=NOWHERE, reduction="none")

    def weights(self, targets: Array) -> Array:
        """Only hidden tokens count; where there is none at all, nothing is divided by nothing. [n]"""
        counted = (targets != NOWHERE).astype(np.float64)
        return counted if counted.any() else np.ones(1)

    def kept(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Of a vocabulary at each mask the loss and the likeliest [m 2]; else the TOP's scores and these [m 2·TOP]."""
        if batch.targets is not None:
            return torch.stack([self.at_masks(outputs, batch), outputs.argmax(-1).to(outputs.dtype)], 1)
        scores, words = outputs.softmax(-1).topk(min(TOP, outputs.shape[1]))
        return torch.cat([scores, words.to(scores.dtype)], 1)

    def decide(self, examples: Examples, outputs: Tensor) -> Array:
        """How many tokens of each row were hidden, how many found, and the losses' sum. outputs [m 2] -> [b 3]"""
        losses, given = outputs.double().numpy().T
        targets, row = at_asked(examples)
        columns = (targets != NOWHERE, targets == given, losses)
        return np.stack([np.bincount(row, column, len(examples.truth)) for column in columns], 1)

    def told(self, examples: Examples, outputs: Tensor) -> list[dict[str, Any]]:
        """{"masks": for each mask of the text [{"word", "score"} …]}, the likeliest first. outputs [m 2·TOP]"""
        scores, words = outputs.chunk(2, 1)
        spell = partial(examples.layout.tokenizer.decode, skip_special_tokens=False)
        filled = [
            [{"word": spell([word]).strip(), "score": score} for word, score in zip(*one, strict=True)]
            for one in zip(words.long().tolist(), scores.tolist(), strict=True)
        ]
        assert examples.asked is not None
        ends = counted(examples.asked, examples.tokens).cumsum().tolist()
        return [{"masks": filled[start:end]} for start, end in zip([0, *ends], ends, strict=False)]

    def scored(self, truth: Array, answers: Array) -> MaskScores:
        """Log-likelihood, accuracy and perplexity at the masks."""
        return masks.score(answers)

    def drawn(self, truth: Array, *answers: Array) -> tuple[Drawn, ...]:
        """Rows are drawn, whose masks were counted once."""
        return tuple(Drawn(masks.drawn(these)) for these in answers)

    def findings(self, texts: Sequence[Text], examples: Examples, outputs: Tensor) -> Findings:
        """Which tokens are taken for which."""
        (targets, _), spell = at_asked(examples), examples.layout.spelled
        pairs = zip(targets.tolist(), outputs[:, 1].long().tolist(), strict=True)
        return masks.findings([(spell(one), spell(other)) for one, other in pairs if one != NOWHERE])

    def breakdown(self, truth: Array, answers: Array) -> str:
        """The perplexity."""
        return masks.as_text(answers)


def asking(tokenizer: TextTokenizer, texts: Sequence[Text]) -> Examples:
    """Texts with the places of their masks. Raises InputError for one that has none where the model reads."""
    tokens = tokenizer.encode(texts)
    asked = tokens.ids == tokenizer.mask_id
    without = np.flatnonzero(counted(asked, tokens) == 0)
    if len(without):
        assert tokenizer.mask_id is not None
        row = int(without[0])
        mask, text = tokenizer.tokenizer.id_to_token(tokenizer.mask_id), texts[row]
        said = excerpt(text if isinstance(text, str) else " ".join(text))
        where = f" in the {tokenizer.max_length} tokens the model reads" if tokens.cut[row] else ""
        raise InputError(f"text {row + 1}, {said}, has no {mask}{where}; write it where a word is missing")
    return Examples(tokens, asked=asked, layout=tokenizer)


def at_asked(examples: Examples) -> tuple[Array, Array]:
    """Of each position that was asked about, what stood there, and the row of the table it is from. -> [m], [m]"""
    assert examples.origin is not None
    rows = np.repeat(examples.origin, examples.tokens.lengths)
    return examples.targets.values[examples.asked], rows[examples.asked]


def counted(asked: Array, tokens: Tokens) -> Array:
    """How many of each text's tokens are asked about. [n] -> [b]"""
    return np.add.reduceat(asked, tokens.starts, dtype=np.int64)
