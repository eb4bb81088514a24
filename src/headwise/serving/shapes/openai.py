"""Requests of OpenAI's clients: embeddings (platform.openai.com/docs/api-reference/embeddings)."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from headwise.serving.asking import Call
from headwise.serving.shapes import fields
from headwise.serving.shapes.outputs import VECTORS, gives_vectors, vectors
from headwise.serving.shapes.tei import refuse_empty
from headwise.tasks.task import Array


async def embeddings(call: Call) -> Any:
    """POST /v1/embeddings: numbers, or the base64 of little-endian float32."""
    body = call.json
    served = call.served(gives_vectors, VECTORS, fields.word(body, "model"))
    given = body.get("input")
    texts = fields.texts([given] if isinstance(given, str) else given, "input")
    refuse_empty(texts)
    packed = fields.word(body, "encoding_format", "float", "base64") == "base64"
    dimensions = fields.whole(body, "dimensions")
    found = await call.ask(served, texts, lambda _, outputs: written(vectors(outputs, True, dimensions), packed))
    tokens = int(call.spent["tokens"])
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(found)],
        "model": served.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def written(rows: Array, packed: bool) -> list[Any]:
    """Vectors as JSON can hold them."""
    if packed:
        return [base64.b64encode(row.astype(np.dtype("<f4")).tobytes()).decode() for row in rows]
    return rows.tolist()


async def models(call: Call) -> Any:
    """GET /v1/models."""
    found = call.service.shelf.models.values()
    return {
        "object": "list",
        "data": [{"id": one.name, "object": "model", "created": 0, "owned_by": "headwise"} for one in found],
    }
