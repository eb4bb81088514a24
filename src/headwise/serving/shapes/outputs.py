"""What a model made of texts, as the numbers that clients want: scores of labels, vectors, relevance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from headwise.families.graph import Graph
from headwise.serving.models import Served
from headwise.serving.refusals import Refused
from headwise.serving.shapes import fields
from headwise.tasks.feature_extraction import FeatureExtraction
from headwise.tasks.regression import Regression
from headwise.tasks.task import Array
from headwise.tasks.text_classification import TextClassification

LABELS = "that gives labels or a number"
VECTORS = "of feature-extraction"
RELEVANCE = "of pairs with two labels or one number, the last of which says how right the second text is"


def gives_labels(served: Served) -> bool:
    """A classifier, or one of a number."""
    return isinstance(served.model.task, TextClassification | Regression)


def gives_vectors(served: Served) -> bool:
    """A model that makes a vector of a text."""
    return isinstance(served.model.task, FeatureExtraction)


def gives_relevance(served: Served) -> bool:
    """A model that says of a question and a document whether they belong together."""
    return gives_labels(served) and served.model.pairs and len(served.model.labels) in (1, 2)


def scores(served: Served, outputs: Tensor, function: str | None = None) -> Array:
    """A number for each label. [b c] function: softmax, sigmoid or none of the outputs; else as the task has it."""
    if function == "softmax":
        return outputs.softmax(-1).numpy()
    if function == "sigmoid":
        return outputs.sigmoid().numpy()
    task = served.model.task
    if function == "none" or not isinstance(task, TextClassification):
        return outputs.numpy()
    return task.probabilities(outputs)


def labelled(served: Served, row: Array, top_k: int | None = None) -> list[dict[str, Any]]:
    """One text's labels with their scores, the highest first."""
    order = np.argsort(-row, kind="stable")[:top_k]
    return [{"label": served.model.labels[i], "score": float(row[i])} for i in order]


def relevance(served: Served, outputs: Tensor, raw: bool = False) -> list[float]:
    """How right each pair's second text is: the chance of the last label; of a number, from 0 to 1. outputs [b c]"""
    if raw:
        return (outputs[:, -1] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]).tolist()
    if outputs.shape[1] == 1:
        return outputs[:, 0].sigmoid().tolist()
    return scores(served, outputs)[:, -1].tolist()


def vectors(outputs: Tensor, normalize: bool = True, dimensions: int | None = None) -> Array:
    """One for each text, of length 1 unless not wanted so, or its first numbers. [b d]

    Raises Refused for more numbers than there are.
    """
    if dimensions is not None and dimensions > outputs.shape[1]:
        raise Refused(422, "Validation", f"`dimensions`: the model makes {outputs.shape[1]} numbers")
    some = outputs[:, :dimensions]
    return (F.normalize(some, dim=-1) if normalize else some).numpy()


def normalized(served: Served, how: Mapping[str, Any]) -> bool:
    """Whether vectors are wanted of length 1. Raises Refused for others of a graph, which makes none."""
    wanted = fields.flag(how, "normalize", True)
    if not wanted and isinstance(served.model.checkpoint.model, Graph):
        raise fields.wrong("normalize", "true, an exported model makes vectors of length 1 only; serve the run itself")
    return wanted


def prompted(served: Served, name: str | None) -> FeatureExtraction:
    """The task that reads texts as queries, or as documents. Raises Refused for another prompt."""
    task = served.model.task
    assert isinstance(task, FeatureExtraction)
    if name not in (None, "query", "document"):
        raise Refused(422, "Validation", "`prompt_name`: expected query or document")
    return replace(task, query_prefix=task.document_prefix) if name == "document" else task
