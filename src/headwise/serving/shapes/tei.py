"""Requests of text-embeddings-inference (github.com/huggingface/text-embeddings-inference)."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np

from headwise.serving.asking import Call
from headwise.serving.models import Served
from headwise.serving.refusals import Refused
from headwise.serving.shapes import fields
from headwise.serving.shapes.outputs import (
    LABELS,
    RELEVANCE,
    VECTORS,
    gives_labels,
    gives_relevance,
    gives_vectors,
    labelled,
    normalized,
    prompted,
    relevance,
    scores,
    vectors,
)


def truncation(body: dict[str, Any]) -> bool:
    """Whether what is too long may be cut, which is at its end here. Raises Refused where it is wanted elsewhere."""
    if (fields.word(body, "truncation_direction", "right", "left", "Right", "Left") or "right").lower() != "right":
        raise Refused(422, "Validation", "`truncation_direction`: texts are cut at their end here, right")
    return fields.flag(body, "truncate", False)


async def predict(call: Call) -> Any:
    """POST /predict: labels with scores; two texts side by side are a pair, lists of texts a batch."""
    body = call.json
    served = call.served(gives_labels, LABELS, fields.word(body, "model"))
    given = body.get("inputs")
    batch = isinstance(given, list) and all(isinstance(one, list) for one in given)
    if isinstance(given, list) and not batch and (len(given) > 2 or any(isinstance(one, list) for one in given)):
        raise fields.wrong("inputs", "a text, two of a pair, or a list of each text of several: [[text], [text], …]")
    texts = fields.items(given, "inputs") if batch else [fields.item(given, "inputs")]
    refuse_empty(texts)
    function = "none" if fields.flag(body, "raw_scores", False) else None
    found = await call.ask(
        served,
        texts,
        lambda _, outputs: [labelled(served, row) for row in scores(served, outputs, function)],
        truncate=truncation(body),
    )
    return found if batch else found[0]


async def embed(call: Call) -> Any:
    """POST /embed: a vector for each text."""
    body = call.json
    served = call.served(gives_vectors, VECTORS, fields.word(body, "model"))
    given = body.get("inputs")
    texts = fields.texts([given] if isinstance(given, str) else given, "inputs")
    refuse_empty(texts)
    normalize, dimensions = normalized(served, body), fields.whole(body, "dimensions")
    return await call.ask(
        served,
        texts,
        lambda _, outputs: vectors(outputs, normalize, dimensions).tolist(),
        truncate=truncation(body),
        task=prompted(served, fields.word(body, "prompt_name")),
    )


async def rerank(call: Call) -> Any:
    """POST /rerank: how well each text answers the query, the best first."""
    body = call.json
    served = call.served(gives_relevance, RELEVANCE, fields.word(body, "model"))
    query, texts = fields.text(body, "query"), fields.texts(body.get("texts"), "texts")
    refuse_empty([query, *texts])
    raw, with_text = fields.flag(body, "raw_scores", False), fields.flag(body, "return_text", False)
    found = await call.ask(
        served,
        [(query, text) for text in texts],
        lambda _, outputs: relevance(served, outputs, raw),
        truncate=truncation(body),
    )
    order = np.argsort(-np.array(found), kind="stable").tolist()
    return [
        {"index": number, "score": found[number]} | ({"text": texts[number]} if with_text else {}) for number in order
    ]


async def similarity(call: Call) -> Any:
    """POST /similarity: the cosine of each sentence with the source."""
    body = call.json
    return await cosines(call, body.get("inputs"), fields.parameters(body, "truncate", "truncation_direction"))


async def cosines(call: Call, inputs: Any, parameters: dict[str, Any]) -> list[float]:
    """Of {"source_sentence", "sentences"}; the sentences are read as documents."""
    served = call.served(gives_vectors, VECTORS, fields.word(call.json, "model"))
    if not isinstance(inputs, dict):
        raise fields.wrong("inputs", "an object with source_sentence and sentences")
    source, sentences = fields.text(inputs, "source_sentence"), fields.texts(inputs.get("sentences"), "sentences")
    cut = truncation(parameters)
    refuse_empty([source, *sentences])
    (first,) = await call.ask(served, [source], lambda _, outputs: vectors(outputs), truncate=cut)
    as_documents = prompted(served, "document")
    others = await call.ask(served, sentences, lambda _, outputs: vectors(outputs), truncate=cut, task=as_documents)
    return (others @ first).tolist()


async def tokenize(call: Call) -> Any:
    """POST /tokenize: the tokens of each text, as the model numbers them."""
    body = call.json
    served = call.served(lambda one: True, "", fields.word(body, "model"))
    given = body.get("inputs")
    texts = fields.texts([given] if isinstance(given, str) else given, "inputs")
    special = fields.flag(body, "add_special_tokens", True)
    call.spent["characters"] += call.refuse_too_much(len(texts), sum(map(len, texts)))
    own = served.model.tokenizer.tokenizer
    try:
        encodings = await call.made_ready(lambda: own.encode_batch(texts, add_special_tokens=special))
    except TypeError:  # how tokenizers refuses half a surrogate pair
        raise fields.wrong("inputs", "texts in valid Unicode") from None
    return [
        [
            {"id": number, "text": token, "special": bool(mask)}
            | ({"start": None, "stop": None} if mask else {"start": start, "stop": stop})
            for number, token, mask, (start, stop) in zip(
                one.ids, one.tokens, one.special_tokens_mask, one.offsets, strict=True
            )
        ]
        for one in encodings
    ]


async def decode(call: Call) -> Any:
    """POST /decode: the text of tokens."""
    body = call.json
    served = call.served(lambda one: True, "", fields.word(body, "model"))
    ids = body.get("ids")
    rows: list[Any] = ids if isinstance(ids, list) and ids and isinstance(ids[0], list) else [ids]
    size = served.model.checkpoint.vocab_size
    if not all(isinstance(row, list) and all(type(one) is int and 0 <= one < size for one in row) for row in rows):
        raise fields.wrong("ids", f"lists of numbers from 0 to {size - 1}")
    skip = fields.flag(body, "skip_special_tokens", True)
    own = served.model.tokenizer.tokenizer
    call.refuse_too_much(len(rows), 0)
    return await call.made_ready(lambda: [own.decode(row, skip_special_tokens=skip) for row in rows])


async def own_task(call: Call) -> Any:
    """POST /: whatever the first model is for."""
    served = call.served(lambda one: True, "", fields.word(call.json, "model"))
    if gives_vectors(served):
        return await embed(call)
    if gives_labels(served):
        return await predict(call)
    raise Refused(422, "Validation", f"ask a model of {served.model.task.name} at /models/{served.name}")


async def info(call: Call) -> Any:
    """GET /info: the model, and what a request may hold."""
    served, limits = call.served(lambda one: True, ""), call.service.limits
    return {
        "model_id": served.name,
        "model_sha": served.version,
        "model_dtype": served.model.precision,
        "model_type": kind_of(served),
        "task": served.model.task.name,
        "max_concurrent_requests": limits.max_concurrent_requests,
        "max_input_length": served.model.tokenizer.max_length,
        "max_batch_tokens": limits.max_batch_tokens,
        "max_batch_requests": None,
        "max_client_batch_size": limits.max_client_batch_size,
        "auto_truncate": False,
        "tokenization_workers": 1,
        "version": version("headwise"),
        "sha": None,
        "docker_label": None,
        "models": [
            {"name": one.name, "version": one.version, "task": one.model.task.name}
            for one in call.service.shelf.models.values()
        ],
    }


def kind_of(served: Served) -> dict[str, Any]:
    """As text-embeddings-inference has it."""
    if gives_vectors(served):
        return {"embedding": {"pooling": "cls" if served.model.checkpoint.model.head.spec.pool == "first" else "mean"}}
    names = dict(enumerate(served.model.labels))
    about = {"id2label": {str(i): name for i, name in names.items()}, "label2id": {v: k for k, v in names.items()}}
    return {"reranker" if gives_relevance(served) else "classifier": about}


def refuse_empty(texts: Any) -> None:
    """Raises Refused where there is no text, or one is empty."""
    if not texts or any(not side for text in texts for side in ((text,) if isinstance(text, str) else text)):
        raise Refused(400, "Empty", "`inputs` cannot be empty")


ROUTES = {
    "/predict": predict,
    "/embed": embed,
    "/rerank": rerank,
    "/similarity": similarity,
    "/tokenize": tokenize,
    "/decode": decode,
}
