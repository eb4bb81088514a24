"""Text classification: a text, or a pair of texts, gets one of several labels, or any number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch.nn.functional as F
from torch import Tensor

from headwise.errors import InputError, excerpt, listing
from headwise.judging.metrics import Scores, score
from headwise.reading.records import Records

Array = npt.NDArray[Any]
THRESHOLD = 0.5  # a label of several is given from this probability on


@dataclass(frozen=True)
class TextClassification:
    """What a classifier answers, how it is trained and how its answers are scored.

    Targets are class numbers [b] where a text has one label, zeros and ones [b c] where it may have several.
    """

    name: ClassVar[str] = "text-classification"

    labels: tuple[str, ...]
    multi_label: bool = False
    class_weights: tuple[float, ...] | None = None  # one per label
    label_smoothing: float = 0.0

    @property
    def problem_type(self) -> str:
        """transformers' word for it."""
        return "multi_label_classification" if self.multi_label else "single_label_classification"

    @property
    def metric(self) -> str:
        """What early stopping watches unless told otherwise."""
        return "micro_f1" if self.multi_label else "accuracy"

    def targets(self, records: Records, column: str, separator: str | None = None) -> Array:
        """A label column as numbers: [b], or [b c]. Raises InputError at a label that is not one of ours."""
        if not self.multi_label:
            if has_lists(records, column):
                raise InputError(f"{records.path}: column {column} holds lists, expected one label as in training")
            found = pc.index_in(records.table[column], pa.array(self.labels))
            self.refuse_unseen(records, column, found.is_null(), records.table[column])
            return np.asarray(found.to_numpy(), np.int64)
        lists = label_lists(records, column, separator)
        rows, names = pc.list_parent_indices(lists), pc.list_flatten(lists)
        found = pc.index_in(names, pa.array(self.labels))
        self.refuse_unseen(records, column, found.is_null(), names, rows)
        targets = np.zeros((len(records), len(self.labels)), np.float32)
        targets[rows.to_numpy(), found.to_numpy()] = 1
        return targets

    def refuse_unseen(self, records: Records, column: str, unseen: Any, names: Any, rows: Any = None) -> None:
        """Raise InputError at the first name that is marked as unseen."""
        if pc.any(unseen).as_py():
            at = pc.index(unseen, True).as_py()
            row = at if rows is None else rows[at].as_py()
            raise InputError(
                f"{records.where(row)}: {column} {excerpt(names[at].as_py())} never occurs in training, "
                f"which has {listing(self.labels)}; mend the label or leave the row out"
            )

    def weighted_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Each row's loss, times its weight. logits [b c] -> [b]"""
        if self.multi_label:
            smooth = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
            positive = None if self.class_weights is None else logits.new_tensor(self.class_weights)
            return F.binary_cross_entropy_with_logits(logits, smooth, reduction="none", pos_weight=positive).mean(1)
        weight = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        return F.cross_entropy(logits, targets, weight, reduction="none", label_smoothing=self.label_smoothing)

    def weights(self, targets: Array) -> Array:
        """What each row counts in a mean: losses are summed and divided by the sum of these. [b]"""
        if self.multi_label or self.class_weights is None:
            return np.ones(len(targets))
        return np.asarray(self.class_weights)[targets]

    def probabilities(self, logits: Tensor) -> Array:
        """[b c] -> [b c]: over the labels where a text has one, each by itself where it may have several."""
        return (logits.sigmoid() if self.multi_label else logits.softmax(-1)).numpy()

    def decide(self, probabilities: Array) -> Array:
        """The answer, shaped like targets: the likeliest label, or all that reach the threshold."""
        if self.multi_label:
            return (probabilities >= THRESHOLD).astype(np.float32)
        return probabilities.argmax(1)

    def answers(self, probabilities: Array) -> list[dict[str, Any]]:
        """For people and programs: {"label", "score"}, or {"labels", "scores"} where there may be several."""
        if not self.multi_label:
            best = probabilities.argmax(1)
            return [
                {"label": self.labels[i], "score": float(row[i])} for i, row in zip(best, probabilities, strict=True)
            ]
        chosen = [np.flatnonzero(row) for row in self.decide(probabilities)]
        return [
            {"labels": [self.labels[i] for i in mine], "scores": [float(row[i]) for i in mine]}
            for mine, row in zip(chosen, probabilities, strict=True)
        ]

    def score(self, targets: Array, probabilities: Array) -> Scores:
        """Accuracy, F1 and the rest, over rows that have targets."""
        return self.scored(targets, self.decide(probabilities))

    def scored(self, targets: Array, answers: Array) -> Scores:
        """The same of answers shaped like targets, whoever gave them."""
        return score(targets.astype(np.int64), answers.astype(np.int64), self.labels)


def label_lists(records: Records, column: str, separator: str | None) -> Any:
    """A column of several labels as Arrow lists: lists already, or text cut at the separator."""
    values = records.table[column].combine_chunks()
    if pa.types.is_list(values.type):
        return values
    pieces = pc.split_pattern(values, separator or "|")
    names = pc.utf8_trim_whitespace(pc.list_flatten(pieces))
    parents = pc.list_parent_indices(pieces).to_numpy()
    kept = pc.not_equal(names, "").to_numpy(zero_copy_only=False)
    counts = np.bincount(parents[kept], minlength=len(values))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, names.filter(pa.array(kept)))


def has_lists(records: Records, column: str) -> bool:
    """Whether a column holds lists, as a jsonl or parquet file can."""
    return bool(pa.types.is_list(records.table.schema.field(column).type))


def labels_in(records: Records, column: str, multi_label: bool, separator: str | None) -> tuple[str, ...]:
    """The labels that occur, numbers in the order of numbers, the rest by name. Raises InputError below two."""
    values = label_lists(records, column, separator) if multi_label else records.table[column]
    if not multi_label:
        empty = pc.equal(pc.utf8_trim_whitespace(values), "")
        if pc.any(empty).as_py():
            at = records.where(pc.index(empty, True).as_py())
            raise InputError(f"{at}: the label in column {column} is empty; write one or delete the row")
    names = pc.unique(pc.list_flatten(values) if multi_label else values).to_pylist()
    if len(names) < 2:
        raise InputError(
            f"{records.path}: column {column} holds one class only ({listing(names)}), training needs two; "
            "add rows of another class, or choose another column with --label-column"
        )
    numbers = all(name.lstrip("-").isdecimal() and len(name) < 19 for name in names)
    return tuple(sorted(names, key=int if numbers else str))


def class_weights(given: str | Mapping[str, float], labels: Sequence[str], targets: Array) -> tuple[float, ...] | None:
    """One weight per label: none, rows / (classes · rows of the class) as scikit-learn balances, or as given.

    Of several labels each is balanced by itself: its rows without / its rows with. Raises InputError for a
    weight without a label, a label without a weight, and weights that are not positive.
    """
    if given == "none":
        return None
    if given == "balanced":
        if targets.ndim == 2:
            with_it = np.maximum(targets.sum(0), 1)
            return tuple(np.maximum(len(targets) - with_it, 1) / with_it)
        return tuple(len(targets) / (len(labels) * np.maximum(np.bincount(targets, minlength=len(labels)), 1)))
    if not isinstance(given, Mapping):
        raise InputError(f"class weights {given!r}: expected none, balanced or label=weight,label=weight,…")
    if set(given) != set(labels):
        odd = sorted(set(given) ^ set(labels))
        raise InputError(f"class weights: {listing(odd)} stands on one side only; the labels are {listing(labels)}")
    if not all(isinstance(weight, Real) and 0 < weight < float("inf") for weight in given.values()):
        raise InputError("class weights: every weight must be a number above 0, and finite")
    return tuple(float(given[label]) for label in labels)
