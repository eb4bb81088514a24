"""Requests of MLflow's clients (mlflow.org: model serving), whose predictions are those of headwise predict."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from starlette.responses import PlainTextResponse

from headwise.reading.text import Text
from headwise.serving.asking import Call
from headwise.serving.models import Served
from headwise.serving.refusals import Refused
from headwise.serving.shapes import fields


async def invocations(call: Call) -> Any:
    """POST /invocations: {"inputs": […]} of texts or pairs, or a table as pandas splits it or as records."""
    body = call.json
    served = call.served(lambda one: True, "", fields.word(body, "model"))
    truncate = fields.flag(fields.only(fields.thing(body, "params"), ["truncate"]), "truncate", False)
    texts = texts_of(body, served)
    task = served.model.task
    return {"predictions": await call.ask(served, texts, task.told, truncate=truncate)}


def texts_of(body: dict[str, Any], served: Served) -> list[Text]:
    """What is asked about. Raises Refused where a request holds nothing like it."""
    if "inputs" in body or "instances" in body:
        given = body.get("inputs", body.get("instances"))
        if isinstance(given, dict) and any(isinstance(one, list) for one in given.values()):  # of columns
            columns = list(given.values())
            if not all(isinstance(one, list) and len(one) == len(columns[0]) for one in columns):
                raise fields.wrong("inputs", "columns that are lists of as many texts each")
            return rows_of(list(given), [list(row) for row in zip(*columns, strict=True)], served)
        return fields.items(given, "inputs")
    table = body.get("dataframe_split")
    if isinstance(table, dict):
        return rows_of(table.get("columns"), table.get("data"), served)
    records = body.get("dataframe_records")
    if isinstance(records, list) and records and all(isinstance(one, dict) for one in records):
        return rows_of(list(records[0]), [[one.get(name) for name in records[0]] for one in records], served)
    raise Refused(422, "Validation", "expected inputs, instances, dataframe_split or dataframe_records")


def rows_of(columns: Any, data: Any, served: Served) -> list[Text]:
    """Texts of a table: the columns of training where they are there, else those that are left."""
    names = columns if isinstance(columns, list) and all(type(one) in (str, int) for one in columns) else None
    if columns is not None and names is None:
        raise fields.wrong("columns", "a list of names")
    if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        raise fields.wrong("data", "a list of rows")
    usual = served.model.card.get("columns") or {}
    wanted = [usual.get(role) for role in ("text", "pair") if usual.get(role)]
    if names is not None and wanted and all(name in names for name in wanted):
        at = [names.index(name) for name in wanted]
        if not all(len(row) == len(names) for row in data):
            raise fields.wrong("data", f"rows of {len(names)} values")
        data = [[row[place] for place in at] for row in data]
    return [fields.item(row, "data") for row in data]


async def ping(call: Call) -> Any:
    """GET /ping: it answers."""
    call.there()
    return PlainTextResponse("\n")


async def told_version(call: Call) -> Any:
    """GET /version: ours, in the place of MLflow's."""
    return PlainTextResponse(version("headwise"))
