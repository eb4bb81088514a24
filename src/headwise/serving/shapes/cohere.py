"""Requests of Cohere's clients: rerank, version 2 (docs.cohere.com/reference/rerank)."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwise.serving.asking import Call
from headwise.serving.shapes import fields
from headwise.serving.shapes.outputs import RELEVANCE, gives_relevance, relevance
from headwise.serving.shapes.tei import refuse_empty


async def rerank(call: Call) -> Any:
    """POST /v2/rerank: documents by how well they answer the query. One that is too long is cut, as Cohere does."""
    body = call.json
    served = call.served(gives_relevance, RELEVANCE, fields.word(body, "model"))
    query, documents = fields.text(body, "query"), fields.texts(body.get("documents"), "documents")
    top = fields.whole(body, "top_n")
    if body.get("max_tokens_per_doc") is not None:
        raise fields.wrong("max_tokens_per_doc", "nothing, a document is cut at what the model reads")
    refuse_empty([query, *documents])
    found = await call.ask(
        served,
        [(query, document) for document in documents],
        lambda _, outputs: relevance(served, outputs),
        truncate=True,
    )
    order = np.argsort(-np.array(found), kind="stable").tolist()[:top]
    return {
        "id": call.request.scope["state"]["id"],
        "results": [{"index": number, "relevance_score": found[number]} for number in order],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }
