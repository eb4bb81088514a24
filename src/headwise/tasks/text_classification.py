"""Text classification: a text, or a pair of texts, gets one of several labels, or any number of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch.nn.functional as F
from torch import Tensor

from headwise.core.transformer import HeadedEncoder
from headwise.errors import InputError, excerpt, listing
from headwise.families.family import Purpose
from headwise.judging import baselines, classification, thresholds
from headwise.judging.calibration import Calibrated, calibration, temperature
from headwise.judging.comparison import Comparison, Tested, compare
from headwise.judging.fitted import Fitted, outcomes, with_outcomes
from headwise.judging.intervals import Drawn, Interval, intervals, resampled
from headwise.judging.metrics import METRICS, Scores, same, score
from headwise.judging.sections import Findings
from headwise.reading.batches import Batch, Examples
from headwise.reading.columns import Columns
from headwise.reading.records import Records
from headwise.reading.text import Text
from headwise.tasks.task import Array, Task
from headwise.tasks.windowed import Windowed

FIGURE = re.compile(r"\s*[+-]?\d[\d.,]*[\s%]*")  # as people write them: 3,5 or 1.250,00 or 35%
TAGS = re.compile(r"\s*(O|[BIES]-\S+)(\s+(O|[BIES]-\S+))*\s*")  # of words: B-PER I-PER O
LIST = re.compile(r"\s*\[\s*(['\"].*)?\]\s*")  # ["a", "b"], but not [a]
HARDLY_ANY_OTHER = 0.9  # a share of one class above which always answering it may be the best there is


@dataclass(frozen=True)
class TextClassification(Windowed):
    """What a classifier answers, how it is trained and how its answers are scored.

    Truth and answers are class numbers [b] where a text has one label, zeros and ones [b c] where it may have several.
    """

    name: ClassVar[str] = "text-classification"
    purpose: ClassVar[Purpose] = "ForSequenceClassification"
    metrics: ClassVar[Mapping[str, str]] = METRICS

    labels: tuple[str, ...]
    multi_label: bool = False
    thresholds: tuple[float, ...] | None = None  # of several labels, one each, given from this probability on
    class_weights: tuple[float, ...] | None = None  # one per label
    label_smoothing: float = 0.0
    fitted: Fitted = Fitted()

    @classmethod
    def fits(cls, records: Records, columns: Columns) -> bool:
        """Any column can hold labels."""
        return True

    @classmethod
    def of_table(
        cls, records: Records, columns: Columns, separator: str | None = None, known: Sequence[str] = ()
    ) -> TextClassification:
        """With the labels that occur; where the model has the same ones, they stay in its order."""
        column = columns.target
        multi_label = separator is not None or records.has_lists(column)
        labels = labels_in(records, column, multi_label, separator)
        return cls(tuple(known) if set(known) == set(labels) else labels, multi_label)

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...]) -> TextClassification:
        """problem_type says whether a text may have several labels."""
        return cls(labels, config.get("problem_type") == "multi_label_classification")

    @property
    def problem_type(self) -> str:
        """transformers' word for it."""
        return "multi_label_classification" if self.multi_label else "single_label_classification"

    @property
    def metric(self) -> str:
        """What early stopping watches unless told otherwise."""
        return "micro_f1" if self.multi_label else "accuracy"

    @property
    def kind(self) -> str:
        """A few words about it for the notes."""
        return f"{len(self.labels)} labels, {'any number of them' if self.multi_label else 'one'} per text"

    def truth(self, records: Records, columns: Columns, separator: str | None = None) -> Array:
        """The label column as numbers: [b], or [b c]. Raises InputError at a label that is not one of ours."""
        column = columns.target
        if not self.multi_label:
            if records.has_lists(column):
                raise InputError(f"{records.path}: column {column} holds lists, expected one label as in training")
            found = pc.index_in(records.table[column], pa.array(self.labels))
            self.refuse_unseen(records, column, found.is_null(), records.table[column])
            return np.asarray(found.to_numpy(), np.int64)
        lists = label_lists(records, column, separator)
        rows, names = pc.list_parent_indices(lists), pc.list_flatten(lists)
        found = pc.index_in(names, pa.array(self.labels))
        self.refuse_unseen(records, column, found.is_null(), names, rows)
        truth = np.zeros((len(records), len(self.labels)), np.float32)
        truth[rows.to_numpy(), found.to_numpy()] = 1
        return truth

    def remarks(self, records: Records, columns: Columns) -> list[str]:
        """Labels that look like something else; the same for each part."""
        return [] if self.multi_label else remarks(self.labels)

    def strata(self, truth: Array) -> Array:
        """A row's label; of several its first."""
        return np.asarray(self.labels)[truth.argmax(1) if self.multi_label else truth]

    def settled(
        self, class_weights: str | Mapping[str, float], label_smoothing: float, truth: Array
    ) -> TextClassification:
        """With the weights and the smoothing of a recipe."""
        weights = weights_of(class_weights, self.labels, truth)
        return replace(self, class_weights=weights, label_smoothing=label_smoothing)

    def refuse_unseen(self, records: Records, column: str, unseen: Any, names: Any, rows: Any = None) -> None:
        """Raise InputError at the first name that is marked as unseen."""
        if pc.any(unseen).as_py():
            at = pc.index(unseen, True).as_py()
            row, name = at if rows is None else rows[at].as_py(), names[at].as_py()
            close = get_close_matches(name, self.labels, 1)
            remedy = f"did you mean {excerpt(close[0])}?" if close else "mend the label or leave the row out"
            raise InputError(
                f"{records.where(row)}: {column} {excerpt(name)} never occurs in training, "
                f"which has {listing(self.labels)}; {remedy}"
            )

    def finished(self, model: HeadedEncoder) -> TextClassification:
        """Without what only the loss needs."""
        return replace(self, class_weights=None, label_smoothing=0.0)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Each row's loss, times its weight. outputs [b c] -> [b]"""
        targets, smoothing = batch.targets, self.label_smoothing
        assert targets is not None
        weight = None if self.class_weights is None else outputs.new_tensor(self.class_weights)
        if self.multi_label:
            smooth = targets * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none", pos_weight=weight).mean(1)
        return F.cross_entropy(outputs, targets, weight, reduction="none", label_smoothing=smoothing)

    def weights(self, targets: Array) -> Array:
        """What each row counts in a mean. [b]"""
        if self.multi_label or self.class_weights is None:
            return np.ones(len(targets))
        return np.asarray(self.class_weights)[targets]

    def probabilities(self, outputs: Tensor) -> Array:
        """[b c] -> [b c]: over the labels where a text has one, each by itself where it may have several."""
        logits = outputs / self.fitted.temperature
        return (logits.sigmoid() if self.multi_label else logits.softmax(-1)).numpy()

    def decide(self, examples: Examples, outputs: Tensor) -> Array:
        """The likeliest label, or all that reach their thresholds."""
        return self.chosen(self.probabilities(outputs))

    def chosen(self, probabilities: Array) -> Array:
        """The same from probabilities. [b c] -> [b] or [b c]"""
        if self.multi_label:
            least = thresholds.USUAL if self.thresholds is None else np.array(self.thresholds)
            return (probabilities >= least).astype(np.float32)
        return probabilities.argmax(1)

    def told(self, examples: Examples, outputs: Tensor) -> list[dict[str, Any]]:
        """For people and programs: {"label", "score"}, or {"labels", "scores"} where there may be several.

        Where it was decided when to answer, "abstains" says why there is none: the label is None then, or there are
        no labels.
        """
        probabilities = self.probabilities(outputs)
        answers = self.chosen(probabilities)
        found: list[dict[str, Any]]
        if self.multi_label:
            sets = [np.flatnonzero(row) for row in answers]
            pairs = zip(sets, probabilities, strict=True)
            found = [
                {"labels": [self.labels[i] for i in mine], "scores": [float(row[i]) for i in mine]}
                for mine, row in pairs
            ]
        else:
            best = zip(answers, probabilities, strict=True)
            found = [{"label": self.labels[i], "score": float(row[i])} for i, row in best]
        if self.fitted.always_answers:
            return found
        silent: dict[str, Any] = {"labels": [], "scores": []} if self.multi_label else {"label": None}
        return [
            one | (silent if reason else {}) | {"abstains": reason or None}
            for one, reason in zip(found, self.abstains(outputs).tolist(), strict=True)
        ]

    def confidence(self, probabilities: Array) -> Array:
        """How sure an answer is: its probability, or of several labels that of the least sure one, given or not. [b]"""
        if not self.multi_label:
            return np.asarray(probabilities.max(1))
        return np.asarray(np.where(self.chosen(probabilities) == 1, probabilities, 1 - probabilities).min(1))

    def abstains(self, outputs: Tensor) -> Array:
        """Why a row has no answer, "" where it has one. [b]"""
        return self.fitted.abstains(self.confidence(self.probabilities(outputs)), outputs.numpy())

    def scored(self, truth: Array, answers: Array) -> Scores:
        """Accuracy, F1 and the rest."""
        return score(truth.astype(np.int64), answers.astype(np.int64), self.labels)

    def collapsed(self, truth: Array, answers: Array) -> bool:
        """Stuck at the majority class; not where there is hardly any other."""
        commonest = np.unique(truth, axis=0, return_counts=True)[1].max() / len(truth)
        return bool((answers == answers[0]).all() and commonest < HARDLY_ANY_OTHER)

    def never_answered(self, truth: Array, answers: Array) -> list[str]:
        """Of several labels, each by itself."""
        each = [one if self.multi_label else one[:, None] == np.arange(len(self.labels)) for one in (truth, answers)]
        there, given = (one.sum(0) for one in each)  # [c]
        return [self.labels[at] for at in np.argsort(-there, kind="stable") if there[at] and not given[at]]

    def intervals(self, truth: Array, answers: Array) -> Mapping[str, Interval]:
        """By drawing kinds of rows."""
        return intervals(truth.astype(np.int64), answers.astype(np.int64), len(self.labels))

    def drawn(self, truth: Array, *answers: Array) -> tuple[Drawn, ...]:
        """By drawing kinds of rows."""
        numbers = (each.astype(np.int64) for each in (truth, *answers))
        return resampled(*numbers, classes=len(self.labels))

    def refuse_other(self, other: Task) -> None:
        """Also where the labels differ, or a text may have several in one only."""
        super().refuse_other(other)
        assert isinstance(other, TextClassification)
        if odd := sorted(set(self.labels) ^ set(other.labels)):
            raise InputError(f"the two models cannot be compared: {listing(odd)} is a label of one only")
        if self.multi_label != other.multi_label:
            raise InputError("the two models cannot be compared: one gives one label a text, the other several")

    def renumbered(self, answers: Array, other: Task) -> Array:
        """In the order of this one's labels. [b] or [b c]"""
        order = np.array([other.labels.index(label) for label in self.labels])
        return answers[:, order] if answers.ndim == 2 else np.argsort(order)[answers]

    def compared(self, truth: Array, first: Array, second: Array) -> Comparison:
        """By which rows, and which labels of rows, only one of the two has right."""
        true, mine, theirs = (each.astype(np.int64) for each in (truth, first, second))
        scores, drawn = (self.scored(truth, first), self.scored(truth, second)), self.drawn(truth, first, second)
        return compare(self.metric, self.metrics, scores, drawn, Tested.of(true, mine, theirs, len(self.labels)))

    def tuned(self, valid: Examples, outputs: Tensor) -> TextClassification:
        """With a temperature and, of several labels, their thresholds."""
        found = temperature(outputs.numpy(), valid.truth.astype(np.int64))
        calibrated = replace(self, fitted=replace(self.fitted, temperature=found))
        if not self.multi_label:
            return calibrated
        least = thresholds.fitted(valid.truth, calibrated.probabilities(outputs))
        return replace(calibrated, thresholds=tuple(least.tolist()))

    def decided(
        self, examples: Examples, outputs: Tensor, most_error: float | None, false_alarms: float | None
    ) -> TextClassification:
        """With a rule for when to answer, and with a scope, where these are asked for; from rows in scope.

        An answer is wrong where the label is, or of several labels where the set is not exactly right. Raises
        InputError where nothing can be promised, and for a scope where a text may have several labels, or none.
        """
        if self.multi_label and false_alarms is not None:
            raise InputError(
                "a text that no label fits gets none where it may have several, so there is nothing to call out of "
                "scope; leave out --false-alarms"
            )
        probabilities = self.probabilities(outputs)
        wrong = ~same(examples.truth, self.chosen(probabilities))
        sure = self.confidence(probabilities)
        fitted = self.fitted.decided(sure, wrong, most_error, outputs.numpy(), false_alarms)
        return replace(self, fitted=fitted)

    @property
    def settings(self) -> dict[str, Any]:
        """Temperature, rule and scope, and the thresholds of several labels."""
        return self.fitted.as_dict() | ({} if self.thresholds is None else {"thresholds": list(self.thresholds)})

    def restored(self, settings: Mapping[str, Any]) -> TextClassification:
        """The reverse. Raises InputError where thresholds are not one for each label."""
        task, found = replace(self, fitted=Fitted.of(settings)), settings.get("thresholds")
        if found is None:
            return task
        if not (
            isinstance(found, list)
            and len(found) == len(self.labels)
            and all(type(one) in (float, int) and 0 <= one <= 1 for one in found)
        ):
            raise InputError(f"thresholds: expected one from 0 to 1 for each of {len(self.labels)} labels")
        return replace(task, thresholds=tuple(map(float, found)))

    def baselines(
        self, train: Sequence[Text], truth: Array, texts: Sequence[Text], seed: int
    ) -> dict[str, Callable[[], Array]]:
        """The commonest answer, and logistic regression on words."""
        known = truth.astype(np.int64)
        return {
            "majority class": lambda: baselines.majority(known, len(texts)),
            "TF-IDF + logistic regression": lambda: baselines.tfidf(train, known, texts, seed),
        }

    def frozen(self, features: Array, truth: Array, others: Array, seed: int) -> Array:
        """Logistic regression on features of the model as it is."""
        return baselines.frozen(features, truth.astype(np.int64), others, seed)

    def shown(self, metric: str) -> Mapping[str, str]:
        """With a single label, micro F1 is accuracy once more."""
        return classification.metrics(self.multi_label, metric)

    def findings(self, texts: Sequence[Text], examples: Examples, outputs: Tensor) -> Findings:
        """Confusions, classes and mistakes."""
        probabilities, truth = self.probabilities(outputs), examples.truth.astype(np.int64)
        answers = self.chosen(probabilities).astype(np.int64)
        plain = replace(self, fitted=Fitted()).probabilities(outputs)
        calibrated = Calibrated(self.fitted.temperature, calibration(plain, truth), calibration(probabilities, truth))
        scores = self.scored(truth, answers)
        found = classification.findings(self.labels, truth, probabilities, answers, texts, scores, calibrated)
        if self.fitted.always_answers:
            return found
        return with_outcomes(found, outcomes(self.abstains(outputs), ~same(truth, answers)), self.fitted)

    def breakdown(self, truth: Array, answers: Array) -> str:
        """scikit-learn's classification report."""
        return classification.as_text(self.labels, truth.astype(np.int64), answers.astype(np.int64))


def label_lists(records: Records, column: str, separator: str | None) -> Any:
    """A column of several labels as Arrow lists: lists already, or text cut at the separator; without blanks around
    them, and without empty ones."""
    values = records.table[column].combine_chunks()
    pieces = values if pa.types.is_list(values.type) else pc.split_pattern(values, separator or "|")
    names = pc.utf8_trim_whitespace(pc.list_flatten(pieces))
    parents = pc.list_parent_indices(pieces).to_numpy()
    kept = pc.not_equal(names, "").to_numpy(zero_copy_only=False)
    counts = np.bincount(parents[kept], minlength=len(values))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, names.filter(pa.array(kept)))


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
    numbers = all(name.removeprefix("-").isdecimal() and len(name) < 19 for name in names)
    return tuple(sorted(names, key=int if numbers else str))


def remarks(labels: Sequence[str]) -> list[str]:
    """Where labels of one per text look like numbers, like tags of words, or like several in one."""
    if labels and all(FIGURE.fullmatch(label) for label in labels) and re.search("[,%]", "".join(labels)):
        return ["the labels look like numbers; for regression write 3,5 as 3.5, 1,000 as 1000 and 35% as 35"]
    if labels and all(TAGS.fullmatch(label) for label in labels) and any(" " in label.strip() for label in labels):
        return ["the labels look like tags of words; for token classification write lists of them in a .jsonl"]
    if labels and all(LIST.fullmatch(label) for label in labels):
        return ["the labels look like lists; if a text has several, write a .jsonl with lists, or a|b for a label each"]
    said = []
    for mark in "|;,":
        if several := composite(labels, mark):
            looks = "a label looks" if len(several) == 1 else f"{len(several):,} labels look"
            said.append(f"{looks} like several in one, {excerpt(several[0])}; if so: --label-separator '{mark}'")
    return said


def composite(labels: Sequence[str], mark: str) -> list[str]:
    """Those that are others with a mark between them, or behind them."""
    names = {label.strip() for label in labels}
    parts = {label: {part.strip() for part in label.split(mark)} - {""} for label in labels if mark in label}
    return [label for label, some in parts.items() if some and some < names]


def weights_of(given: str | Mapping[str, float], labels: Sequence[str], targets: Array) -> tuple[float, ...] | None:
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
    if unknown := [name for name in given if name not in labels]:
        raise InputError(f"class weights: no label is called {listing(unknown)}; the labels are {listing(labels)}")
    if missing := [label for label in labels if label not in given]:
        raise InputError(f"class weights: {listing(missing)} has none; give every label one")
    if not all(isinstance(weight, Real) and 0 < weight < float("inf") for weight in given.values()):
        raise InputError("class weights: every weight must be a number above 0, and finite")
    return tuple(float(given[label]) for label in labels)
