"""The OpenAPI document: what every address takes and gives, for people, generated clients and testers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from headwise.serving.asking import Answer
from headwise.serving.shapes import hub, own

Schema = dict[str, Any]
"""JSON Schema, draft 2020-12, as OpenAPI 3.1 has it."""


def ref(name: str) -> Schema:
    """One of the named parts below."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(of: Schema, least: int = 0, **more: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": of, **({"minItems": least} if least else {}), **more}


def either(*kinds: Schema) -> Schema:
    """One of several."""
    return {"anyOf": list(kinds)}


def fields(needed: Mapping[str, Schema], more: Mapping[str, Schema] | None = None, **about: Any) -> Schema:
    """An object: fields that must be there, and fields that may be."""
    return {"type": "object", "required": list(needed), "properties": {**needed, **(more or {})}, **about}


def only(needed: Mapping[str, Schema], more: Mapping[str, Schema] | None = None) -> Schema:
    """An object without any other field."""
    return fields(needed, more, additionalProperties=False)


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
TRUTH: Schema = {"type": "boolean"}
FLAG: Schema = {"type": ["boolean", "null"]}
COUNT: Schema = {"type": ["integer", "null"], "minimum": 1}
NAME: Schema = {"type": ["string", "null"]}
ANY: Schema = {}


def word(*allowed: str) -> Schema:
    """One of a few words, or nothing."""
    return {"enum": [*allowed, None]}


SIDE = word("right", "Right")
CUTTING = {"truncate": FLAG, "truncation_direction": SIDE}
WORDS: Schema = {"type": "string", "minLength": 1}
TEXTS = either(WORDS, listed(WORDS, 1))
PROMPT = word("query", "document")

PARTS: dict[str, Schema] = {
    "Refusal": fields(dict.fromkeys(("error", "error_type", "message", "request_id"), TEXT)),
    "Item": {
        "description": "a text, or a pair of texts",
        **either(TEXT, listed(TEXT, 1, maxItems=2), only({"text": TEXT}, {"text_pair": TEXT})),
    },
    "Label": fields({"label": TEXT, "score": NUMBER}),
    "Vector": listed(NUMBER, 1),
    "Parameters": {"type": ["object", "null"]},
    "Tensor": fields(
        {"datatype": {"const": "BYTES"}, "data": listed(either(TEXT, listed(TEXT, 1)), 1)},
        {"name": TEXT, "shape": listed(WHOLE)},
    ),
}
ITEM, VECTOR, LABELS = ref("Item"), ref("Vector"), listed(ref("Label"))
SIMILARITY = only({"source_sentence": WORDS, "sentences": listed(WORDS, 1)})


@dataclass(frozen=True)
class Shape:
    """What an address takes, where it takes a body, and gives. kind: the media type of what it gives."""

    gives: Schema
    takes: Schema | None = None
    kind: str = "application/json"


HEALTH = Shape(fields({"live": TRUTH, "ready": TRUTH}))
PREDICT = fields(
    {"inputs": either(ITEM, listed(either(listed(WORDS, 1, maxItems=2)), 1))}, {"raw_scores": FLAG, **CUTTING}
)
EMBED = fields({"inputs": TEXTS}, {"normalize": FLAG, "dimensions": COUNT, "prompt_name": PROMPT, **CUTTING})
IDS = listed({"type": "integer", "minimum": 0})
PARAMS = {"params": {"type": ["object", "null"], "properties": {"truncate": FLAG}, "additionalProperties": False}}
MODEL = Shape(fields({"name": TEXT, "versions": listed(TEXT), "platform": TEXT, "inputs": ANY, "outputs": ANY}))
READY = Shape(fields({"name": TEXT, "ready": TRUTH}))
INFER = Shape(
    fields({"model_name": TEXT, "model_version": TEXT, "outputs": listed(fields({"name": TEXT, "data": listed(ANY)}))}),
    fields({"inputs": listed(ref("Tensor"), 1, maxItems=2)}, {"id": NAME}),
)
TABLE = fields(
    {"data": listed(listed(TEXT, 1, maxItems=2), 1)},
    {"columns": either(listed(either(TEXT, WHOLE)), {"type": "null"})},
)
PIPELINE = Shape(ANY, fields({"inputs": ANY}, {"parameters": ref("Parameters")}))

SHAPES: dict[str, Shape] = {
    "/": Shape(ANY, either(PREDICT, EMBED)),
    "/page/{file}": Shape(ANY, kind="*/*"),
    "/about": Shape(fields({"name": TEXT, "version": TEXT, "task": TEXT, "labels": listed(TEXT), "limits": ANY})),
    "/report": Shape(TEXT, kind="text/html"),
    "/explain": Shape(
        fields({}), fields({"inputs": ITEM}, {"label": NAME, "against": NAME, "word": NAME, "method": NAME})
    ),
    "/predict": Shape(either(LABELS, listed(LABELS)), PREDICT),
    "/embed": Shape(listed(VECTOR), EMBED),
    "/rerank": Shape(
        listed(fields({"index": WHOLE, "score": NUMBER}, {"text": TEXT})),
        fields({"query": WORDS, "texts": listed(WORDS, 1)}, {"raw_scores": FLAG, "return_text": FLAG, **CUTTING}),
    ),
    "/similarity": Shape(listed(NUMBER), fields({"inputs": SIMILARITY}, {"parameters": only({}, CUTTING)})),
    "/tokenize": Shape(
        listed(listed(fields({"id": WHOLE, "text": TEXT, "special": TRUTH, "start": ANY, "stop": ANY}))),
        fields({"inputs": either(TEXT, listed(TEXT, 1))}, {"add_special_tokens": FLAG}),
    ),
    "/decode": Shape(listed(TEXT), fields({"ids": either(IDS, listed(IDS, 1))}, {"skip_special_tokens": FLAG})),
    "/info": Shape(fields({"model_id": TEXT, "model_sha": TEXT, "max_input_length": WHOLE, "models": listed(ANY)})),
    "/v1/embeddings": Shape(
        fields({"data": listed(fields({"index": WHOLE, "embedding": either(VECTOR, TEXT)})), "usage": ANY}),
        fields({"input": TEXTS}, {"encoding_format": word("float", "base64"), "dimensions": COUNT}),
    ),
    "/v1/models": Shape(fields({"data": listed(fields({"id": TEXT}))})),
    "/v2/rerank": Shape(
        fields({"id": TEXT, "results": listed(fields({"index": WHOLE, "relevance_score": NUMBER}))}),
        fields({"query": WORDS, "documents": listed(WORDS, 1)}, {"top_n": COUNT}),
    ),
    "/v2": Shape(fields({"name": TEXT, "version": TEXT, "extensions": listed(TEXT)})),
    "/v2/models/{model}": MODEL,
    "/v2/models/{model}/versions/{version}": MODEL,
    "/v2/models/{model}/infer": INFER,
    "/v2/models/{model}/versions/{version}/infer": INFER,
    "/v2/models/{model}/ready": READY,
    "/v2/models/{model}/versions/{version}/ready": READY,
    "/models/{model}": PIPELINE,
    "/models/{model}/pipeline/{task}": PIPELINE,
    "/invocations": Shape(
        fields({"predictions": listed({"type": "object"})}),
        either(
            *(fields({name: either(ITEM, listed(ITEM, 1))}, PARAMS) for name in ("inputs", "instances")),
            fields({"dataframe_split": TABLE}, PARAMS),
            fields({"dataframe_records": listed({"type": "object"}, 1)}, PARAMS),
        ),
    ),
    "/ping": Shape(TEXT, kind="text/plain"),
    "/version": Shape(TEXT, kind="text/plain"),
    "/metrics": Shape(TEXT, kind="text/plain"),
    "/openapi.json": Shape({"type": "object"}),
    **dict.fromkeys(("/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"), HEALTH),
}

REFUSALS = {
    400: "empty, or not valid",
    401: "an API key is needed",
    403: "a page of another site, or not this machine",
    404: "nothing is there, or no such model",
    405: "another method",
    408: "the body did not come in time",
    413: "too large",
    415: "not JSON by its header",
    422: "something in it is not as expected",
    424: "the model makes no finite numbers",
    429: "too much waits; Retry-After says how long",
}


def document(answers: Mapping[str, Mapping[str, Answer]], models: Mapping[str, str]) -> dict[str, Any]:
    """The whole of it: by method, by path, what answers; and the version of each model. Raises KeyError for a path
    that SHAPES does not describe.
    """
    paths: dict[str, dict[str, Any]] = {}
    for method, by_path in answers.items():
        for path, answer in by_path.items():
            paths.setdefault(path, {})[method.lower()] = operation(method, path, answer, models)
    return {
        "openapi": "3.1.0",
        "info": {"title": "headwise", "version": version("headwise"), "description": "docs/serving.md says more."},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": PARTS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }


def operation(method: str, path: str, answer: Answer, models: Mapping[str, str]) -> dict[str, Any]:
    """One method of one path. A path below a model's is described as the first model's is."""
    shape = SHAPES.get(path) or SHAPES[path.removeprefix("/models/{model}")]
    if (method, path) == ("GET", "/"):
        shape = Shape(TEXT, kind="text/html")
    allowed = {
        "model": list(models),
        "version": list(models.values()),
        "task": list(hub.ANSWERS),
        "file": list(own.assets()),
    }
    refusals = {
        str(status): {"description": what, "content": {"application/json": {"schema": ref("Refusal")}}}
        for status, what in REFUSALS.items()
    }
    told: dict[str, Any] = {
        "summary": (answer.__doc__ or "").partition(": ")[2].strip() or (answer.__doc__ or "").strip(),
        "operationId": f"{method.lower()}{path}",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"enum": words}}
            for name, words in allowed.items()
            if f"{{{name}}}" in path
        ],
        "responses": {
            "200": {"description": "the answer", "content": {shape.kind: {"schema": shape.gives}}},
            **refusals,
        },
    }
    if shape.takes is not None and method == "POST":
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": shape.takes}}}
    return told
