"""What our own page asks, and the page itself: its files, what is known of a model, its report, explanations."""

from __future__ import annotations

import asyncio
import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

from starlette.responses import Response

from headwise.families.graph import Graph
from headwise.insight.page import clean
from headwise.model import Model
from headwise.reading.text import Text, characters
from headwise.serving.asking import Call
from headwise.serving.explaining import MOST_CHARACTERS, Explaining
from headwise.serving.limits import Limits
from headwise.serving.models import Served, version_of
from headwise.serving.refusals import Refused
from headwise.serving.shapes import fields
from headwise.tasks.fill_mask import FillMask
from headwise.tasks.question_answering import QuestionAnswering
from headwise.tasks.text_classification import TextClassification
from headwise.training.saving import CARD

KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "json": "application/json"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Of the page. No script of it can make markup of a text, even by mistake."""
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""Of a report: its styles and plots are inside it; it runs no script and is of no origin."""
LARGEST_REPORT = 50_000_000  # bytes


# The page


@cache
def assets() -> dict[str, tuple[bytes, str, str]]:
    """The files of the page by name: what is in each, its kind, its tag."""
    found = {}
    for file in (files("headwise.serving") / "page").iterdir():
        kind = KINDS.get(file.name.rpartition(".")[2])
        if kind is not None:
            content = file.read_bytes()
            found[file.name] = (content, f"{kind}; charset=utf-8", f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


async def page(call: Call) -> Response:
    """GET /: the page."""
    return asset(call, "page.html")


async def page_file(call: Call) -> Response:
    """GET /page/{file}: a file of the page."""
    return asset(call, call.request.path_params["file"])


def asset(call: Call, name: str) -> Response:
    """A file of the page, unless the client has it already. Raises Refused where there is none."""
    if name not in assets():
        raise Refused(404, "NotFound", "the page has no such file")
    content, kind, tag = assets()[name]
    headers = {"etag": tag, "cache-control": "no-cache", "content-security-policy": POLICY}
    if tag in call.request.headers.get("if-none-match", "").split(", "):
        return Response(status_code=304, headers=headers)
    return Response(content, headers={**headers, "content-type": kind})


# What is known of a model


async def about(call: Call) -> Any:
    """GET /models/{model}/about: what a reader needs to know before believing an answer."""
    return await asyncio.to_thread(known, call.served(lambda one: True, ""), call.service.limits)


def known(served: Served, limits: Limits) -> dict[str, Any]:
    """The model, what it reads, how it did in training, and what a request may hold; what is not known is null."""
    model, card, task = served.model, served.model.card, served.model.task
    tokenizer, columns = model.tokenizer, card.get("columns") or {}
    mask = None if tokenizer.mask_id is None else tokenizer.tokenizer.id_to_token(tokenizer.mask_id)
    found = {
        "name": served.name,
        "version": served.version,
        "task": task.name,
        "labels": list(model.labels),
        "several": isinstance(task, TextClassification) and task.multi_label,
        "abstains": isinstance(task, TextClassification | QuestionAnswering) and not task.fitted.always_answers,
        "pairs": model.pairs or task.apart or isinstance(task, QuestionAnswering),
        "columns": {role: columns.get(role) for role in ("text", "pair", "label")},
        "separator": card.get("label_separator"),
        "mask": mask if isinstance(task, FillMask) else None,
        "explains": not isinstance(task, FillMask) and not isinstance(model.checkpoint.model, Graph),
        "max_length": tokenizer.max_length,
        "max_windows": tokenizer.max_windows,
        "parameters": sum(one.numel() for one in model.checkpoint.model.parameters()),
        "base_model": folder(str(card.get("base_model") or "")) or None,
        "headwise": card.get("headwise"),
        "data": card.get("data") or {},
        "judged": judged(served),
        "report": beside(served, "report.html") is not None,
        "limits": {
            "items": limits.max_client_batch_size,
            "characters": limits.max_characters,
            "explained": MOST_CHARACTERS,
        },
    }
    return clean(found)


def folder(name: str) -> str:
    """A name of a model without the path it has on the machine of its training."""
    return PurePath(name).name if PurePath(name).is_absolute() else name


def judged(served: Served) -> dict[str, Any] | None:
    """How it and the baselines did, metric by metric: as metrics.json has it, or with less as headwise.json has it."""
    names, card = served.model.task.metrics, served.model.card
    try:
        file = beside(served, "metrics.json")
        if file is not None:
            return compared(json.loads(file.read_text(encoding="utf-8")), names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # of another version, or damaged: then less is known
    metrics = card.get("metrics")
    if not isinstance(metrics, dict):
        return None
    scores = {shown: metrics[name] for name, shown in names.items() if isinstance(metrics.get(name), float)}
    alone = {"name": served.name, "rows": None, "scores": scores, "intervals": {}}
    return {"split": card.get("judged_on"), "metric": next(iter(scores), None), "verdicts": [alone], "rows": None}


def compared(report: dict[str, Any], names: Any) -> dict[str, Any]:
    """The verdicts of metrics.json under the names that people know."""
    verdicts = []
    for one in report["verdicts"]:
        spans = one.get("intervals", {})
        verdicts.append(
            {
                "name": folder(str(one["name"])),
                "rows": one.get("rows"),
                "scores": {shown: float(one[name]) for name, shown in names.items() if name in one},
                "intervals": {shown: list(map(float, spans[name])) for name, shown in names.items() if name in spans},
            }
        )
    rows = report["facts"].get("rows")
    return {"split": report["split"], "metric": names[report["metric"]], "verdicts": verdicts, "rows": rows}


def beside(served: Served, name: str) -> Path | None:
    """A file that a run left beside its model; None where there is none, or another version lies there by now."""
    file = served.directory / name
    if not file.is_file() or not (served.directory / CARD).is_file() or version_of(served.directory) != served.version:
        return None
    return file


async def report(call: Call) -> Response:
    """GET /models/{model}/report: the report of its training."""
    served = call.served(lambda one: True, "")
    content = await asyncio.to_thread(report_of, served)
    headers = {**call.headers, "content-type": "text/html; charset=utf-8", "content-security-policy": REPORT_POLICY}
    return Response(content, headers=headers)


def report_of(served: Served) -> bytes:
    """Raises Refused where there is none."""
    file = beside(served, "report.html")
    if file is None or file.stat().st_size > LARGEST_REPORT:
        raise Refused(404, "NotFound", "no report lies beside this model")
    return file.read_bytes()


# Explanations


async def explain(call: Call) -> Any:
    """POST /explain: {"inputs": a text or pair}, and "label", "against", "word", "method" as of headwise explain."""
    body = call.json
    served = call.served(lambda one: True, "", fields.word(body, "model"))
    text = fields.item(body.get("inputs"), "inputs")
    how = {name: asked for name in ("label", "against", "word", "method") if (asked := fields.word(body, name))}
    call.spent["characters"] += call.refuse_too_much(1, characters(text))
    if characters(text) > MOST_CHARACTERS:
        raise Refused(413, "Validation", f"an explanation is of {MOST_CHARACTERS:,} characters at most; give a part")
    call.service.batcher.refuse_where_full()
    call.service.explainer.refuse_where_busy()
    one = Explaining(await call.read(lambda: twin_for(served, text)), text, how)
    call.service.explainer.submit(one)
    return await call.unless_gone(one)


def twin_for(served: Served, text: Text) -> Model:
    """The model for another thread. Raises InputError where it does not read such a text."""
    served.model.refuse_other_kind([text])
    return served.twin


GETS = {"/": page, "/page/{file}": page_file}
MODEL_GETS = {"/about": about, "/report": report}
MODEL_POSTS = {"/explain": explain}
