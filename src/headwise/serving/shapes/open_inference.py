"""Requests of the Open Inference Protocol, version 2 (github.com/kserve/open-inference-protocol): JSON and binary."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from headwise.reading.text import Text
from headwise.serving.asking import Call, json_object
from headwise.serving.models import Served
from headwise.serving.refusals import Refused
from headwise.serving.shapes import fields
from headwise.serving.shapes.outputs import gives_labels, gives_vectors


async def server(call: Call) -> Any:
    """GET /v2."""
    return {"name": "headwise", "version": version("headwise"), "extensions": ["binary_tensor_data"]}


async def alive(call: Call) -> Any:
    """GET /v2/health/live and /v2/health/ready: whoever answers is both."""
    call.there()
    return {"live": True, "ready": True}


async def model_ready(call: Call) -> Any:
    """GET /v2/models/{model}/ready."""
    return {"name": asked(call).name, "ready": True}


async def model(call: Call) -> Any:
    """GET /v2/models/{model}: a row of texts goes in, or of pairs; what comes out depends on the task."""
    served = asked(call)
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": f"headwise_{served.model.task.name}",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1, 2] if served.model.pairs else [-1]}],
        "outputs": [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in kinds_of(served)],
    }


async def infer(call: Call) -> Any:
    """POST /v2/models/{model}/infer."""
    served = asked(call)
    head, rest = divided(call)
    body = json_object(head)
    texts = texts_of(body.get("inputs"), rest)
    if gives_vectors(served) and not all(isinstance(one, str) for one in texts):
        raise fields.wrong("inputs", "single texts, each of which gets a vector; pairs get a cosine at /invocations")
    wanted = body.get("outputs")
    names = [one.get("name") for one in wanted if isinstance(one, dict)] if isinstance(wanted, list) else None
    known = [name for name, _, _ in kinds_of(served)]
    if names is not None and not all(name in known for name in names):
        raise fields.wrong("outputs", f"some of {', '.join(known)}")
    found = await call.ask(served, texts, served.model.task.told)
    outputs = [one for one in tensors(served, found) if not names or one["name"] in names]
    number = fields.word(body, "id")
    told: dict[str, Any] = {"model_name": served.name, "model_version": served.version, "outputs": outputs}
    return told if number is None else told | {"id": number}


def asked(call: Call) -> Served:
    """The model of the path, in the version of the path where it has one."""
    served = call.served(lambda one: True, "")
    wanted = call.request.path_params.get("version")
    if wanted is not None and wanted != served.version:
        raise Refused(
            404, "NotFound", f"version {wanted[:40]!r} of {served.name} is not served; it is {served.version}"
        )
    return served


def divided(call: Call) -> tuple[bytes, bytes]:
    """The JSON of a request and the tensors behind it. Raises Refused where the header does not say where."""
    given = call.request.headers.get("inference-header-content-length")
    if given is None:
        return call.raw, b""
    if not given.isdecimal() or len(given) > 9 or int(given) > len(call.raw):
        raise Refused(400, "Validation", "Inference-Header-Content-Length: expected the length of the JSON in the body")
    return call.raw[: int(given)], call.raw[int(given) :]


def texts_of(inputs: Any, binary: bytes) -> list[Text]:
    """The texts, or pairs, of one tensor of BYTES, or of two side by side. Raises Refused for anything else."""
    if not isinstance(inputs, list) or len(inputs) not in (1, 2) or not all(isinstance(one, dict) for one in inputs):
        raise fields.wrong("inputs", "one tensor of texts, or two of pairs")
    columns = []
    for one in inputs:
        if not isinstance(one.get("name", ""), str):
            raise fields.wrong("name", "a text")
        if one.get("datatype") != "BYTES":
            raise fields.wrong("datatype", "BYTES, the texts in UTF-8")
        shape = one.get("shape")
        if "shape" in one and not (isinstance(shape, list) and all(type(size) is int for size in shape)):
            raise fields.wrong("shape", "a list of whole numbers")
        size = fields.thing(one, "parameters").get("binary_data_size")
        if size is None:
            values = flat(one.get("data"))
        elif type(size) is not int or not 0 <= size <= len(binary):
            raise fields.wrong("binary_data_size", "how many bytes of the body this tensor has")
        else:
            values, binary = unpacked(binary[:size]), binary[size:]
        columns.append((fields.texts(values, "data"), shape))
    if len(columns) == 2:
        if len(columns[0][0]) != len(columns[1][0]):
            raise fields.wrong("inputs", "two tensors of as many texts each")
        return list(zip(columns[0][0], columns[1][0], strict=True))
    values, shape = columns[0]
    if shape is not None and len(shape) == 2 and shape[-1] == 2 and len(values) % 2 == 0:
        return list(zip(values[::2], values[1::2], strict=True))
    return list(values)


def flat(data: Any) -> list[Any]:
    """Values of a tensor that may be nested by rows."""
    if not isinstance(data, list):
        raise fields.wrong("data", "a list of texts")
    nested = data and all(isinstance(row, list) for row in data)
    return [value for row in data for value in row] if nested else data


def unpacked(data: bytes) -> list[str]:
    """Texts, each behind its length in four bytes, the lowest first. Raises Refused where they do not come out even."""
    found, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            raise Refused(400, "Validation", "the tensor of BYTES ends in the middle of a text")
        try:
            found.append(data[at + 4 : end].decode())
        except UnicodeDecodeError:
            raise Refused(400, "Validation", f"text {len(found) + 1} of the tensor is not UTF-8") from None
        at = end
    return found


def kinds_of(served: Served) -> list[tuple[str, str, list[int]]]:
    """Names, types and shapes of what comes out: label and score, a vector; else the answer as JSON."""
    task = served.model.task
    if gives_vectors(served):
        return [("vector", "FP32", [-1, served.model.checkpoint.model.encoder.spec.d_model])]
    if gives_labels(served) and task.problem_type != "multi_label_classification":
        scores = [("score", "FP32", [-1])]
        return scores if task.problem_type == "regression" else [("label", "BYTES", [-1]), *scores]
    return [("answer", "BYTES", [-1])]


def tensors(served: Served, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers as tensors. The label of a text the model does not answer is empty."""
    told = []
    for name, kind, shape in kinds_of(served):
        if name == "answer":
            data: list[Any] = [json.dumps(one, ensure_ascii=False) for one in found]
        elif name == "vector":
            data = [value for one in found for value in one[name]]
        else:
            data = ["" if one[name] is None else one[name] for one in found]
        told.append({"name": name, "datatype": kind, "shape": [len(found), *shape[1:]], "data": data})
    return told
