"""Regression: a text, or a pair of texts, gets a number."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.core.transformer import HeadedEncoder
from headwise.errors import InputError, excerpt
from headwise.families.checkpoint import labels_of
from headwise.families.family import Purpose
from headwise.judging import baselines, regression
from headwise.judging.regression import METRICS, Scores, score
from headwise.judging.sections import Findings
from headwise.reading.batches import Batch, Examples
from headwise.reading.columns import Columns
from headwise.reading.records import Records
from headwise.reading.text import Text, TextTokenizer
from headwise.tasks.task import Array
from headwise.tasks.windowed import Windowed

MOSTLY = 0.9  # of a column's values are numbers where it is one of numbers
NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
LARGEST = 1e30  # of a number; what a model makes of one may be larger, and float32 ends at 3.4e38
STEPS = 1000  # of float32 that numbers must differ by


@dataclass(frozen=True)
class Regression(Windowed):
    """The number a model answers with, how it learns it and how its answers are scored.

    Truth and answers are numbers in the table's unit [b]. While it is trained a model answers in standardised ones,
    (truth - mean) / spread, so that one recipe suits every unit; after it, its last layer makes the table's.
    """

    name: ClassVar[str] = "regression"
    purpose: ClassVar[Purpose] = "ForSequenceClassification"
    metrics: ClassVar[Mapping[str, str]] = METRICS
    errors: ClassVar[Mapping[str, str]] = {"mae": "mean absolute error"}
    linear: ClassVar[str] = "ridge regression"

    labels: tuple[str, ...]  # the column's name
    mean: float = 0.0  # of the training rows
    spread: float = 1.0  # their standard deviation
    scale: float | None = None  # four of these, from a low number to a high one; None: nobody said

    @classmethod
    def fits(cls, records: Records, columns: Columns) -> bool:
        """Numbers, some of which have a fraction: whole ones may just as well be names of classes.

        A few that are none are faults, for truth to refuse, and do not make the others names.
        """
        if records.has_lists(columns.target):
            return False
        values = records.table[columns.target]
        found = values.filter(pc.match_substring_regex(values, NUMBER))
        return len(found) >= MOSTLY * len(values) and bool((floats(found) % 1 != 0).any())

    @classmethod
    def of_table(
        cls, records: Records, columns: Columns, separator: str | None = None, known: Sequence[str] = ()
    ) -> Regression:
        """Called as the column is. Raises InputError where it holds one number only."""
        if separator is not None:
            raise InputError("--label-separator cuts labels, and regression has one number a row; leave it out")
        task, column = cls((columns.target,)), columns.target
        if np.ptp(numbers(records, column)) == 0:
            raise InputError(
                f"{records.path}: column {column} holds one number only ({excerpt(records.table[column][0].as_py())}), "
                "training needs two; add rows, or choose another column with --label-column"
            )
        return task

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...]) -> Regression:
        """Raises InputError for a model of several numbers."""
        if len(labels) != 1:
            raise InputError(
                f"config.json: regression of {len(labels)} numbers at once, expected one; take another model"
            )
        return cls(labels)

    @classmethod
    def matches(cls, config: Mapping[str, Any]) -> bool:
        """A classifier's head that makes one number, or is said to be for regression."""
        one = len(labels_of(config)) == 1 or config.get("num_labels") == 1
        return super().matches(config) and config.get("problem_type", "regression" if one else None) == "regression"

    @property
    def pipeline(self) -> str:
        """transformers has none of its own for it, and answers with the number as a score."""
        return "text-classification"

    @property
    def problem_type(self) -> str:
        """transformers' word for it."""
        return "regression"

    @property
    def metric(self) -> str:
        """What early stopping watches unless told otherwise."""
        return "pearson"

    @property
    def kind(self) -> str:
        """A few words about it for the notes."""
        return f"one number per text: {self.labels[0]}"

    def keeps_head(self, known: Sequence[str] | None) -> bool:
        """Never: a finished model's last layer makes the table's unit, and training begins with standardised ones."""
        return False

    def truth(self, records: Records, columns: Columns, separator: str | None = None) -> Array:
        """The label column as numbers. [b] Raises InputError at what is none."""
        return numbers(records, columns.target)

    def settled(self, class_weights: str | Mapping[str, float], label_smoothing: float, truth: Array) -> Regression:
        """With the mean and the spread of training rows. Raises InputError where float32 does not tell them apart."""
        super().settled(class_weights, label_smoothing, truth)
        spread = float(truth.std()) or 1.0
        if spread < STEPS * np.spacing(np.float32(abs(truth.mean()))):
            raise InputError(
                f"the numbers lie around {truth.mean():.6g} and differ by {spread:.2g}, too little beside that for a "
                f"model's float32; subtract {truth.mean():.6g} from each"
            )
        return replace(self, mean=float(truth.mean()), spread=spread, scale=4 * spread)

    @torch.no_grad()
    def finished(self, model: HeadedEncoder) -> Regression:
        """With the mean and the spread in the model's last layer."""
        last = model.head.out
        assert isinstance(last, nn.Linear)
        last.weight.mul_(self.spread)
        last.bias.mul_(self.spread).add_(self.mean)
        return replace(self, mean=0.0, spread=1.0)

    @property
    def settings(self) -> dict[str, Any]:
        """The scale, by which explanations tell much from little."""
        return {"scale": self.scale}

    def restored(self, settings: Mapping[str, Any]) -> Regression:
        """Raises InputError where the scale is no number above 0."""
        scale = settings.get("scale")
        if scale is not None and not (isinstance(scale, int | float) and 0 < scale < float("inf")):
            raise InputError(f"scale is {scale!r}, expected a number above 0")
        return replace(self, scale=scale)

    def examples(self, tokenizer: TextTokenizer, texts: Sequence[Text], truth: Array | None = None) -> Examples:
        """Texts, and standardised numbers to compare with."""
        targets = None if truth is None else ((truth - self.mean) / self.spread).astype(np.float32)
        return replace(super().examples(tokenizer, texts, truth), targets=targets)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The squared error. outputs [b 1] -> [b]"""
        assert batch.targets is not None
        return F.mse_loss(outputs[:, 0], batch.targets, reduction="none")

    def decide(self, examples: Examples, outputs: Tensor) -> Array:
        """Numbers in the table's unit. [b 1] -> [b]"""
        return outputs[:, 0].double().numpy() * self.spread + self.mean

    def told(self, examples: Examples, outputs: Tensor) -> list[dict[str, Any]]:
        """For people and programs: {"score"}."""
        return [{"score": float(number)} for number in self.decide(examples, outputs)]

    def scored(self, truth: Array, answers: Array) -> Scores:
        """Correlations, the share of the variance explained, and errors."""
        return score(truth, answers)

    def baselines(
        self, train: Sequence[Text], truth: Array, texts: Sequence[Text], seed: int
    ) -> dict[str, Callable[[], Array]]:
        """The mean, and ridge regression on words."""
        return {
            "mean": lambda: baselines.mean(truth, len(texts)),
            "TF-IDF + ridge regression": lambda: baselines.tfidf_ridge(train, truth, texts, seed),
        }

    def frozen(self, features: Array, truth: Array, others: Array, seed: int) -> Array:
        """Ridge regression on features of the model as it is."""
        return baselines.frozen_ridge(features, truth, others)

    def findings(self, texts: Sequence[Text], examples: Examples, outputs: Tensor) -> Findings:
        """Truth against answers, residuals and mistakes."""
        return regression.findings(examples.truth, self.decide(examples, outputs), texts)

    def breakdown(self, truth: Array, answers: Array) -> str:
        """How large the errors are."""
        return regression.as_text(truth, answers)


def numbers(records: Records, column: str) -> Array:
    """A column as numbers. [b] Raises InputError at the first that is none, or is beyond what a model can compute."""
    if records.has_lists(column):
        raise InputError(f"{records.path}: column {column} holds lists, expected one number")
    values = records.table[column]
    wrong = pc.invert(pc.match_substring_regex(values, NUMBER))
    if not pc.any(wrong).as_py():
        found = floats(values)
        wrong = pa.array(np.abs(found) > LARGEST)
        if not pc.any(wrong).as_py():
            return found
    row = pc.index(wrong, True).as_py()
    text = values[row].as_py()
    raise InputError(f"{records.where(row)}: {column} is {excerpt(text)}, {expected(text)}")


def expected(text: str) -> str:
    """What to write in the place of a text that is no number, or one that no model can compute."""
    if re.match(NUMBER, text):
        return (
            f"expected a number between -{LARGEST:g} and {LARGEST:g}, as far as a model can compute; change the unit "
            "of the whole column, or delete the row"
        )
    if not re.match(NUMBER, text.replace(",", ".", 1)):
        return "expected a number such as 3.5; write one or delete the row"
    fraction, thousands = text.strip().replace(",", ".", 1).rstrip("."), text.strip().replace(",", "", 1)
    either = f"{thousands} or {fraction}, whichever is meant" if re.search(r",\d{3}$", text.strip()) else fraction
    return f"expected a number such as 3.5; write {either}"


def floats(values: Any) -> Array:
    """Text that looks like numbers as numbers. [b]"""
    return np.asarray(values.to_pylist(), object).astype(np.float64)
