"""A scikit-learn classifier of texts: works in Pipeline, cross_val_score, GridSearchCV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from headwise.families.hub import STARTER
from headwise.finetune import train
from headwise.model import Model
from headwise.reading.records import from_columns
from headwise.reading.splits import split
from headwise.reading.text import Text


class TextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Fine-tunes a Transformer on texts X (a sequence of str, or of pairs) and labels y.

    Parameters are those of headwise.Recipe, by the same names; None leaves the choice to it. A tenth of X is
    kept aside to choose the best weights by. After fit: classes_ [classes], model_ (a headwise.Model).
    """

    def __init__(
        self,
        model: str = STARTER,
        *,
        learning_rate: float | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        weight_decay: float | None = None,
        layerwise_decay: float | None = None,
        dropout: float | None = None,
        label_smoothing: float | None = None,
        class_weights: Any = None,
        max_length: int | None = None,
        seed: int = 42,
    ):
        self.model = model
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.layerwise_decay = layerwise_decay
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.max_length = max_length
        self.seed = seed

    def fit(self, X: Sequence[Text], y: Sequence[Any]) -> TextClassifier:
        """X b texts or pairs, y b labels. Raises InputError as headwise.train does."""
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        columns = text_columns(list(X))
        records = from_columns({**columns, "label": [str(code) for code in codes]})
        texts = [list(text) for text in zip(*(records.table[name].to_pylist() for name in columns), strict=True)]
        kept, aside = split(texts, codes, [0.9, 0.1], self.seed).parts
        settings = {name: value for name, value in self.get_params(deep=False).items() if value is not None}
        if isinstance(self.class_weights, Mapping):
            code_of = {label: str(code) for code, label in enumerate(self.classes_.tolist())}
            settings["class_weights"] = {code_of.get(name, str(name)): w for name, w in self.class_weights.items()}
        self.model_: Model = train(
            records.select(kept),
            records.select(aside),
            text_column="text",
            pair_column="pair" if "pair" in columns else None,
            label_column="label",
            with_baselines=False,
            quiet=True,
            **settings,
        )
        return self

    def predict_proba(self, X: Sequence[Text]) -> np.ndarray[Any, Any]:
        """The probability of each of classes_. [b classes]"""
        check_is_fitted(self)
        order = np.argsort([int(code) for code in self.model_.labels])
        return self.model_.probabilities(list(X))[:, order]

    def predict(self, X: Sequence[Text]) -> np.ndarray[Any, Any]:
        """The likeliest of classes_. [b]"""
        likeliest = self.predict_proba(X).argmax(1)
        return self.classes_[likeliest]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags


def text_columns(texts: Sequence[Text]) -> dict[str, list[Any]]:
    """One column, or two where the texts are pairs."""
    if len(texts) and isinstance(texts[0], list | tuple | np.ndarray):
        return {"text": [text[0] for text in texts], "pair": [text[1] for text in texts]}
    return {"text": list(texts)}
