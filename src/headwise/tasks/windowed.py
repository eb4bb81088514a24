"""Tasks of one answer per text: where a text is longer than the model reads, its windows answer together."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from headwise.core.packed import Lengths, Packed
from headwise.reading.batches import Examples, Rows
from headwise.reading.long_texts import windows
from headwise.reading.text import Text, TextTokenizer
from headwise.tasks.task import Array, Task


class Windowed(Task):
    """A task whose texts may be read in windows: a text's outputs are the mean of its windows', in training, too."""

    def examples(self, tokenizer: TextTokenizer, texts: Sequence[Text], truth: Array | None = None) -> Examples:
        """Texts, and what is true of them, made ready for a model; each window a sequence."""
        tokens, counts = windows(tokenizer, texts)
        return Examples(tokens, truth, truth, counts)

    def pooled(self, outputs: Tensor, counts: Rows | None) -> Tensor:
        """The mean of each text's windows. [k c] -> [b c]"""
        return outputs if counts is None else Packed(outputs, Lengths(tuple(counts.tolist()))).means()
