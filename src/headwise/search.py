"""Search: texts find the documents nearest to them, in order, or nothing where none is good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from headwise.errors import InputError
from headwise.judging.ranking import DEPTH, PlattScaling, nearest, similarities
from headwise.model import Model, listed
from headwise.reading.columns import choose_columns
from headwise.tasks.feature_extraction import FeatureExtraction
from headwise.tasks.task import Array
from headwise.tasks.text_classification import TextClassification
from headwise.training.asked import Asked
from headwise.training.data import Source, opened

LEAST = 0.5  # a document is worth showing from this chance of being right on


@dataclass(frozen=True)
class Hit:
    """A document that was found."""

    document: int  # its number among the documents
    text: str
    cosine: float
    score: float | None  # the chance of being right that the nearest document has at this cosine; None: not known


@dataclass(frozen=True, eq=False)
class Index:
    """m documents and their vectors [m d]. Every one is looked at: exact, and fast enough for some 100,000."""

    model: Model
    task: FeatureExtraction
    documents: Sequence[str]
    vectors: Array

    @staticmethod
    def of(model: Model, documents: Sequence[str], done: Callable[[int, int], None] | None = None) -> Index:
        """Read the documents once. Raises InputError without any, and for a model that makes no vectors."""
        task = model.task
        if not isinstance(task, FeatureExtraction):
            raise InputError(f"search takes a model of {FeatureExtraction.name}, found one of {task.name}")
        documents = cast("list[str]", listed(documents))
        if not documents:
            raise InputError("there are no documents to search in")
        as_documents = replace(model, task=replace(task, query_prefix=task.document_prefix))
        return Index(model, task, documents, task.vectors(as_documents.asked(documents, done)[1]))

    def search(
        self, queries: Sequence[str], top_k: int = DEPTH, least: float | None = None, reranker: Model | None = None
    ) -> list[list[Hit]]:
        """For each query at most top_k hits, the best first; none where no document has the least chance.

        least: of being right, LEAST unless given. A model that never learnt chances gives all hits, without scores.
        reranker: a model of pairs with a say in the order of the nearest documents, DEPTH or top_k of them.

        Raises InputError for a least chance the model cannot tell, and for a reranker that is none.
        """
        if top_k < 1:
            raise InputError(f"top_k is {top_k}, expected 1 or more")
        if least is not None and not 0 <= least <= 1:
            raise InputError(f"--least is {least:g}, expected a chance from 0 to 1")
        if least is not None and self.task.calibration is None:
            raise InputError("this model never learnt how sure it can be (it takes validation rows with right texts)")
        queries = cast("list[str]", listed(queries))
        if not queries:
            return []
        found = []
        vectors = self.task.vectors(self.model.asked(queries)[1])
        for rows, cosines in similarities(vectors, self.vectors):
            best = nearest(cosines, max(DEPTH, top_k))
            for query, numbers, near in zip(queries[rows], best, np.take_along_axis(cosines, best, 1), strict=True):
                hits = self.hits(numbers, near)
                if reranker is not None:
                    hits = reranked(reranker, query, hits, self.task.calibration)
                enough = LEAST if least is None else least
                found.append([hit for hit in hits if hit.score is None or hit.score >= enough][:top_k])
        return found

    def hits(self, numbers: Array, cosines: Array) -> list[Hit]:
        """The documents of these numbers, each with its cosine."""
        known = self.task.calibration
        scores = [None] * len(numbers) if known is None else known.probabilities(cosines).tolist()
        rows = zip(numbers.tolist(), cosines.tolist(), scores, strict=True)
        return [Hit(number, self.documents[number], cosine, score) for number, cosine, score in rows]


def reranked(model: Model, query: str, hits: Sequence[Hit], known: PlattScaling | None) -> list[Hit]:
    """Hits in the order of a model that reads query and document together: by its number, or its second label's chance.

    A chance and the cosine are two witnesses of one thing: where it is known what the cosine says, their odds are
    multiplied, so that one that knows little changes little (Genest and Zidek 1986, 'Combining probability
    distributions'). Raises InputError for a model that has neither two labels nor one number.
    """
    outputs = model.asked([(query, hit.text) for hit in hits])[1]  # [hits c]
    if len(model.labels) not in (1, 2) or outputs.shape != (len(hits), len(model.labels)):
        raise InputError(
            f"a re-ranker says of a pair whether it is right, with two labels or a number; found {model.task.name} "
            f"with {len(model.labels)} labels"
        )
    numbers = outputs[:, 0].numpy()
    if isinstance(model.task, TextClassification) and len(model.labels) == 2:
        numbers = (outputs[:, 1] - outputs[:, 0]).numpy() / model.task.fitted.temperature  # log odds
        if known is not None:
            numbers = numbers + known.log_odds(np.array([hit.cosine for hit in hits]))
    return [hits[i] for i in np.argsort(-numbers, kind="stable").tolist()]


def documents_of(model: Model, source: Source, asked: Asked) -> tuple[list[str], list[str]]:
    """The distinct texts of a table's column, and what was guessed: the second one of training unless asked otherwise.

    Raises InputError where there is no such column, or no text in it.
    """
    records, notes = opened(source, asked)
    usual: Any = (model.card.get("columns") or {}).get("pair")
    name = asked.text_column or (usual if usual in records.columns else None)
    columns = choose_columns(records, name, need_label=False)
    texts = model.task.texts(records, replace(columns, pair=None)).first.to_pylist()
    documents = list(dict.fromkeys(text for text in texts if text.strip()))
    if not documents:
        raise InputError(f"{records.path}: column {columns.text} holds no text; choose another with --text-column")
    return documents, [*notes, f"{len(documents):,} distinct documents in column {columns.text} of {len(texts):,} rows"]
