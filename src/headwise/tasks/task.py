"""What every task says about itself: the one shape that training, judging and asking a model rely on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from headwise.core.transformer import HeadedEncoder
from headwise.errors import InputError
from headwise.families.checkpoint import purpose_of
from headwise.families.family import Purpose
from headwise.judging.comparison import Comparison, compare
from headwise.judging.intervals import Drawn, Interval, middle, redrawn
from headwise.judging.metrics import Scored
from headwise.judging.sections import Findings
from headwise.reading.batches import Batch, Examples, Rows
from headwise.reading.columns import Columns
from headwise.reading.records import Records
from headwise.reading.text import Text, Texts, TextTokenizer

Array = npt.NDArray[Any]
FEW_DRAWS = 200  # of the bootstrap, where each means to score anew


class Task(ABC):
    """One kind of question a model answers. Its instances are frozen dataclasses, made for one table or one model.

    Three things go through it. The truth: what a table says, one entry a row. Outputs: the numbers a model makes,
    pooled to [b c] or, where the purpose is about positions, [n c]. Answers: what is decided from outputs, shaped
    like the truth, so that both can be compared, whoever gave them.
    """

    name: ClassVar[str]  # as --task and headwise.json have it
    purpose: ClassVar[Purpose]  # which head the model gets
    needs_label: ClassVar[bool | None] = True  # None: one is taken where there is one
    apart: ClassVar[bool] = False  # whether the texts of a pair are read one by one, so that single ones can be asked
    compares: ClassVar[bool] = False  # whether a row's loss depends on the rows of its batch
    linear: ClassVar[str] = "logistic regression"  # what `frozen` is called
    labels: tuple[str, ...]  # names of the numbers a model makes; empty where it makes a vector

    @classmethod
    @abstractmethod
    def fits(cls, records: Records, columns: Columns) -> bool:
        """Whether a table looks as if it was made for this task: how one is guessed that was not named."""

    @classmethod
    @abstractmethod
    def of_table(cls, records: Records, columns: Columns, separator: str | None, known: Sequence[str]) -> Task:
        """The task a training table sets. known: the labels of the model it starts from.

        Raises InputError for a table that sets none.
        """

    @classmethod
    @abstractmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...]) -> Task:
        """The task of a finished model, from its config.json."""

    @classmethod
    def matches(cls, config: Mapping[str, Any]) -> bool:
        """Whether a config.json of other tools describes a model for this task."""
        return purpose_of(config) == cls.purpose

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, str]:
        """What a model can be chosen by, and how it is written for a reader."""

    errors: ClassVar[Mapping[str, str]] = {}
    """Of two models compared what is told besides: scores of which less is better, and how they are written."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """What early stopping watches unless told otherwise."""

    @property
    def kind(self) -> str:
        """A few words about it for the notes."""
        return f"{len(self.labels)} labels"

    @property
    def pipeline(self) -> str:
        """transformers' name of the pipeline that opens the model, and the hub's of its kind."""
        return self.name

    @property
    def problem_type(self) -> str | None:
        """transformers' word for the loss, where it has one."""
        return None

    def keeps_head(self, known: Sequence[str] | None) -> bool:
        """Whether the last layer of a model that has these labels is one to begin training with."""
        return self.labels == known

    @classmethod
    def texts(cls, records: Records, columns: Columns) -> Texts:
        """What the model reads. Raises InputError for what is no text."""
        for name in (columns.text, columns.pair):
            if name is not None and records.has_lists(name):
                raise InputError(f"{records.path}: column {name} holds lists, expected text")
        second = None if columns.pair is None else records.table[columns.pair]
        return Texts(records.table[columns.text], second)

    @abstractmethod
    def truth(self, records: Records, columns: Columns, separator: str | None = None) -> Array:
        """What the table says, one entry a row. [b …] Raises InputError where it says something else."""

    def remarks(self, records: Records, columns: Columns) -> list[str]:
        """What had to be guessed or mended to read the truth, in words."""
        return []

    def strata(self, truth: Array) -> Array:
        """A group for each row; a random split takes the same share of each. [b]"""
        return np.full(len(truth), "any")

    def kin(self, texts: Texts) -> tuple[pa.ChunkedArray, str]:
        """What rows have in common that a random split keeps in one part [b], and what is to be said of that."""
        return texts.joined, ""

    def settled(self, class_weights: str | Mapping[str, float], label_smoothing: float, truth: Array) -> Task:
        """The task as a recipe wants it. Raises InputError for an option it does not have."""
        if class_weights != "none" or label_smoothing:
            raise InputError(f"class weights and label smoothing are of classes, which {self.name} has none of")
        return self

    def prefixed(self, query: str, document: str) -> Task:
        """With words put before every text. Raises InputError for a task that has no such thing."""
        raise InputError(f"--query-prefix and --document-prefix are of feature-extraction, the task is {self.name}")

    def files(self, model: HeadedEncoder, max_length: int) -> dict[str, str]:
        """What other tools want to find in the model's directory: names, and what is in the file."""
        return {}

    def finished(self, model: HeadedEncoder) -> Task:
        """The task once training is over; what only training needed is gone, or has become part of the model."""
        return self

    def tuned(self, valid: Examples, outputs: Tensor) -> Task:
        """The finished task with what is best chosen by the validation rows, such as a threshold or a temperature."""
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """What of it config.json has no place for, as plain JSON: headwise.json keeps it."""
        return {}

    def restored(self, settings: Mapping[str, Any]) -> Task:
        """The task with the settings it was saved with. Raises InputError for what is none of them."""
        return self

    def examples(self, tokenizer: TextTokenizer, texts: Sequence[Text], truth: Array | None = None) -> Examples:
        """Texts, and what is true of them, made ready for a model."""
        return Examples(tokenizer.encode(texts), truth, truth)

    def of_epoch(self, examples: Examples, seed: int, epoch: int) -> Examples:
        """Training examples as an epoch has them: a pure function of these, and of as many rows as long."""
        return examples

    def kept(self, outputs: Tensor, batch: Batch) -> Tensor:
        """What of a pass's outputs is needed to decide and tell: all, unless that is more than memory should hold."""
        return outputs

    def pooled(self, outputs: Tensor, counts: Rows | None) -> Tensor:
        """What is lost, decided and told by, from what a model makes of rows that have so many sequences each [b].

        As they are, unless a task makes one of several: [k c] of the k sequences.
        """
        return outputs

    @abstractmethod
    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Each row's loss, times its weight. -> [b]"""

    def weights(self, targets: Array) -> Array:
        """What targets count in a mean: losses are summed and divided by the sum of these."""
        return np.ones(len(targets))

    @abstractmethod
    def decide(self, examples: Examples, outputs: Tensor) -> Array:
        """The answers, shaped like the truth."""

    @abstractmethod
    def scored(self, truth: Array, answers: Array) -> Scored:
        """How good answers are, whoever gave them."""

    def collapsed(self, truth: Array, answers: Array) -> bool:
        """Whether answers are all the same one though the truth is not, as those of a run that came to nothing."""
        return False

    def never_answered(self, truth: Array, answers: Array) -> list[str]:
        """Labels that some rows have and no answer gives, the commonest first. truth and answers [b] or [b c]"""
        return []

    def drawn(self, truth: Array, *answers: Array) -> tuple[Drawn, ...]:
        """The scores of each of several answers, where rows are drawn again: all in the same draws."""

        def scores(these: Array, rows: Array) -> dict[str, float]:
            found = self.scored(truth[rows], these[rows]).as_dict()
            return {name: found[name] for name in (*self.metrics, *self.errors)}

        return tuple(Drawn(redrawn(partial(scores, these), len(truth), FEW_DRAWS)) for these in answers)

    def intervals(self, truth: Array, answers: Array) -> Mapping[str, Interval]:
        """How far each metric may lie from that on more rows like these."""
        (drawn,) = self.drawn(truth, answers)
        return {name: middle(drawn.metrics[name]) for name in self.metrics}

    def refuse_other(self, other: Task) -> None:
        """Raise InputError where the answers of another task cannot be compared with this one's."""
        if self.name != other.name:
            raise InputError(
                f"the two models cannot be compared: the first is one of {self.name}, the second of {other.name}; "
                "give two of the same task"
            )

    def renumbered(self, answers: Array, other: Task) -> Array:
        """Another model's answers in the numbers of this one, where both have the same labels."""
        return answers

    def compared(self, truth: Array, first: Array, second: Array) -> Comparison:
        """The second answers against the first, to the same rows."""
        scores = self.scored(truth, first), self.scored(truth, second)
        return compare(self.metric, self.metrics, scores, self.drawn(truth, first, second), errors=self.errors)

    @abstractmethod
    def told(self, examples: Examples, outputs: Tensor) -> list[dict[str, Any]]:
        """The answers for people and programs, one a row."""

    def baselines(
        self, train: Sequence[Text], truth: Array, texts: Sequence[Text], seed: int
    ) -> dict[str, Callable[[], Array]]:
        """What fine-tuning has to beat, the weakest first: names, and how to get answers to texts."""
        return {}

    frozen: Callable[[Array, Array, Array, int], Array] | None = None
    """Answers of a linear model on features of the model as it is: (features, truth, features, seed) -> answers."""

    def shown(self, metric: str) -> Mapping[str, str]:
        """The metrics worth a column of a report whose headline has this one."""
        return self.metrics

    def findings(self, texts: Sequence[Text], examples: Examples, outputs: Tensor) -> Findings:
        """What a report tells beside the scores, of examples with their truth."""
        return Findings()

    def breakdown(self, truth: Array, answers: Array) -> str:
        """The scores in more detail, laid out for the terminal."""
        return ""
