"""scikit-learn estimators of texts: they work in Pipeline, cross_val_score, GridSearchCV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from headwise.errors import InputError, listing
from headwise.families.hub import STARTER
from headwise.finetune import train
from headwise.model import Model, listed
from headwise.reading.records import as_text as name_of
from headwise.reading.records import from_columns
from headwise.reading.splits import split
from headwise.reading.text import Text


class FineTuned(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """What both estimators share: their parameters, and how texts X (a sequence of str, or of pairs) are learned.

    Parameters are the commonest hyperparameters of headwise.train, by the same names; None leaves the choice to it. A
    tenth of X is kept aside to choose the best weights by. After fit: model_ (a headwise.Model).
    """

    def __init__(
        self,
        model: str = STARTER,
        *,
        learning_rate: float | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        optimizer: str | None = None,
        lr_scheduler_type: str | None = None,
        warmup_ratio: float | None = None,
        weight_decay: float | None = None,
        layerwise_decay: float | None = None,
        dropout: float | None = None,
        label_smoothing: float | None = None,
        class_weights: Any = None,
        few_shot: bool | None = None,
        lora_rank: int | None = None,
        frozen_layers: int | None = None,
        max_length: int | None = None,
        max_windows: int | None = None,
        metric: str | None = None,
        patience: int | None = None,
        seed: int = 42,
    ):
        self.model = model
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr_scheduler_type = lr_scheduler_type
        self.warmup_ratio = warmup_ratio
        self.weight_decay = weight_decay
        self.layerwise_decay = layerwise_decay
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.few_shot = few_shot
        self.lora_rank = lora_rank
        self.frozen_layers = frozen_layers
        self.max_length = max_length
        self.max_windows = max_windows
        self.metric = metric
        self.patience = patience
        self.seed = seed

    def trained(self, X: Sequence[Text], y: Sequence[Any], task: str, strata: Any = None, **settings: Any) -> Model:
        """A model of X and y [b] by these parameters, or the settings in their place; strata: groups to split by."""
        columns = text_columns(X)
        records = from_columns({**columns, "label": y})
        texts = [list(text) for text in zip(*(records.table[name].to_pylist() for name in columns), strict=True)]
        kept, aside = split(texts, strata, [0.9, 0.1], self.seed).parts
        own = {name: value for name, value in self.get_params(deep=False).items() if value is not None}
        return train(
            records.select(kept),
            records.select(aside),
            task=task,
            text_column="text",
            pair_column="pair" if "pair" in columns else None,
            label_column="label",
            with_baselines=False,
            quiet=True,
            **own | settings,
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


class TextClassifier(ClassifierMixin, FineTuned):  # type: ignore[misc]
    """Fine-tunes a Transformer on texts X and labels y; after fit it has classes_ [classes], too."""

    def fit(self, X: Sequence[Text], y: Sequence[Any]) -> TextClassifier:
        """X b texts or pairs, y b labels. Raises InputError as headwise.train does."""
        text_columns(X)
        classes, codes = classes_of(y)
        names = [name_of(label) for label in classes]
        if isinstance(self.class_weights, Mapping) and set(self.class_weights) != set(classes.tolist()):
            raise InputError(f"class_weights: expected one for each of {listing(names)}")
        settings = {}
        if isinstance(self.class_weights, Mapping):
            settings["class_weights"] = {
                str(code): self.class_weights[label] for code, label in enumerate(classes.tolist())
            }
        trained = self.trained(X, [str(code) for code in codes], "text-classification", codes, **settings)
        order = [int(code) for code in trained.labels]
        if len(set(names)) == len(names):  # not where 1 and "1" are two classes
            trained = replace(
                trained, task=replace(trained.classification, labels=tuple(names[code] for code in order))
            )
        self.classes_, self.columns_ = classes, np.argsort(order)  # all at the end: what fails leaves what was
        self.model_: Model = trained
        return self

    def predict_proba(self, X: Sequence[Text]) -> np.ndarray[Any, Any]:
        """The probability of each of classes_. [b classes]"""
        check_is_fitted(self)
        return self.model_.probabilities(X)[:, self.columns_]

    def predict(self, X: Sequence[Text]) -> np.ndarray[Any, Any]:
        """The likeliest of classes_. [b]"""
        likeliest = self.predict_proba(X).argmax(1)
        return self.classes_[likeliest]


class TextRegressor(RegressorMixin, FineTuned):  # type: ignore[misc]
    """Fine-tunes a Transformer on texts X and numbers y; the best weights are those of the best score(), R²."""

    def fit(self, X: Sequence[Text], y: Sequence[float]) -> TextRegressor:
        """X b texts or pairs, y b numbers. Raises InputError as headwise.train does."""
        self.model_: Model = self.trained(X, np.asarray(y).tolist(), "regression", metric=self.metric or "r2")
        return self

    def predict(self, X: Sequence[Text]) -> np.ndarray[Any, Any]:
        """The numbers of b texts or pairs. [b]"""
        check_is_fitted(self)
        return np.array([answer["score"] for answer in self.model_.predict(X)])


def text_columns(texts: Sequence[Text]) -> dict[str, list[Any]]:
    """One column, or two where the texts are pairs. Raises InputError for what is neither."""
    texts = list(listed(texts))
    if not len(texts):
        raise InputError("X is empty, expected a sequence of texts, or of pairs of texts")
    pairs = [isinstance(text, list | tuple | np.ndarray) for text in texts]
    if not any(pairs):
        return {"text": texts}
    for row, text in enumerate(texts):
        if not pairs[row] or len(text) != 2:
            raise InputError(f"row {row + 1} of X is no pair of texts; give all rows one text, or all of them two")
    return {"text": [text[0] for text in texts], "pair": [text[1] for text in texts]}


def classes_of(y: Sequence[Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The distinct labels, and the number of each row's. Raises InputError for a missing label, or one class only."""
    y = [label.item() if isinstance(label, np.ndarray) and label.size == 1 else label for label in listed(y)]
    for row, label in enumerate(y):
        if isinstance(label, list | tuple | set | np.ndarray):
            raise InputError(f"row {row + 1} of y is no single label; several of a text are for headwise.train")
        if name_of(label) is None:
            raise InputError(f"row {row + 1} of y is {label}, expected a label; give one or leave out the row")
    classes, codes = np.unique(np.array(y), return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"y holds one class only ({listing(map(str, classes))}), training needs two")
    return classes, codes
