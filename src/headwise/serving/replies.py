"""Answers as bytes."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from headwise.serving.refusals import Refused


def as_json(value: Any) -> bytes:
    """JSON in UTF-8; half a surrogate pair is escaped as JSON does. Raises ValueError for NaN."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def reply(body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    """JSON that is bytes already."""
    return Response(body, status, headers, "application/json")


def refusal(error: Refused, number: str) -> Response:
    """The one form of errors: what is wrong, which kind of mistake it is, and which request it was."""
    told = {"error": error.message, "error_type": error.kind, "message": error.message, "request_id": number}
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if error.allow is not None:
        headers["allow"] = error.allow
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return reply(as_json(told), headers, error.status)
