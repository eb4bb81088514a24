"""Fill-mask: the words that would stand where a text has the tokenizer's mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NoReturn

import numpy as np
from torch import Tensor

from headwise.errors import InputError, excerpt
from headwise.families.family import Purpose
from headwise.judging.metrics import Scored
from headwise.reading.batches import Batch, Examples
from headwise.reading.columns import Columns
from headwise.reading.records import Records
from headwise.reading.text import Text, TextTokenizer, Tokens
from headwise.tasks.task import Array, Task

TOP = 5  # words a mask is answered with, as many as transformers' pipeline gives


@dataclass(frozen=True)
class FillMask(Task):
    """What a masked language model (arXiv:1810.04805, section 3.1) answers. It is asked, not trained or judged."""

    name: ClassVar[str] = "fill-mask"
    purpose: ClassVar[Purpose] = "ForMaskedLM"
    metrics: ClassVar[Mapping[str, str]] = {}

    labels: tuple[str, ...] = ()

    @classmethod
    def fits(cls, records: Records, columns: Columns) -> bool:
        """No table is for it."""
        return False

    @classmethod
    def of_table(cls, records: Records, columns: Columns, separator: str | None, known: Sequence[str]) -> NoReturn:
        """Raises InputError: it cannot be trained."""
        raise InputError("fill-mask cannot be trained here; ask a model that is: headwise predict DIR 'a [MASK] film'")

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...]) -> FillMask:
        """Whatever labels a config may hold, they are not of this."""
        return cls()

    @property
    def metric(self) -> str:
        """Nothing to choose by."""
        return ""

    def examples(self, tokenizer: TextTokenizer, texts: Sequence[Text], truth: Array | None = None) -> Examples:
        """With the places of the masks. Raises InputError for a text that has none where the model reads."""
        if tokenizer.mask_id is None:
            raise InputError("the tokenizer has no mask, so there is nothing to fill; take a masked language model")
        tokens = tokenizer.encode(texts)
        asked = tokens.ids == tokenizer.mask_id
        without = np.flatnonzero(counted(asked, tokens) == 0)
        if len(without):
            row = int(without[0])
            mask, text = tokenizer.tokenizer.id_to_token(tokenizer.mask_id), texts[row]
            said = excerpt(text if isinstance(text, str) else " ".join(text))
            where = f" in the {tokenizer.max_length} tokens the model reads" if tokens.cut[row] else ""
            raise InputError(f"text {row + 1}, {said}, has no {mask}{where}; write it where a word is missing")
        return Examples(tokens, asked=asked, layout=tokenizer)

    def told(self, examples: Examples, outputs: Tensor) -> list[dict[str, Any]]:
        """{"masks": for each mask of the text [{"word", "score"} …]}, the likeliest first. outputs [m v]"""
        scores, words = outputs.softmax(-1).topk(min(TOP, outputs.shape[1]))
        spell = partial(examples.layout.tokenizer.decode, skip_special_tokens=False)
        filled = [
            [{"word": spell([word]).strip(), "score": score} for word, score in zip(*one, strict=True)]
            for one in zip(words.tolist(), scores.tolist(), strict=True)
        ]
        assert examples.asked is not None
        ends = counted(examples.asked, examples.tokens).cumsum().tolist()
        return [{"masks": filled[start:end]} for start, end in zip([0, *ends], ends, strict=False)]

    def truth(self, records: Records, columns: Columns, separator: str | None = None) -> Array:
        """Raises InputError: nobody says what stands behind a mask."""
        raise InputError("a fill-mask model is asked with predict, a table has no answers to judge it by")

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        raise NotImplementedError

    def decide(self, examples: Examples, outputs: Tensor) -> Array:
        raise NotImplementedError

    def scored(self, truth: Array, answers: Array) -> Scored:
        raise NotImplementedError


def counted(asked: Array, tokens: Tokens) -> Array:
    """How many of each text's tokens are asked about. [n] -> [b]"""
    return np.add.reduceat(asked, tokens.starts, dtype=np.int64)
