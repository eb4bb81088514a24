"""At the door of the server: who may ask, what is written down of it, and what every answer carries."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headwise.errors import InputError
from headwise.serving.metrics import Metrics
from headwise.serving.refusals import Refused
from headwise.serving.replies import refusal

log = logging.getLogger("headwise.serve")
SHORTEST_KEY = 16
OPEN = re.compile(r"(/models/[^/]+)?/(health(/\w+)?|ping|v2/health/\w+)")
"""Paths that need no key: whether it is there."""
PAGE = re.compile(r"/(page/[\w.-]+)?")
"""Nor do those of the page itself, which is the same for everybody; it asks for the key."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
ID = re.compile(r"[\w.-]{1,64}")


@dataclass(frozen=True)
class Door:
    """Who may come in. Without a key only programs of this machine can, and no page of another site through a browser.

    digest: sha256 of the key; the key itself is not kept.
    """

    host: str = "127.0.0.1"
    digest: bytes | None = field(default=None, repr=False)

    @staticmethod
    def of(host: str, key: str | None) -> Door:
        """Raises InputError for an address beyond this machine without a key, and for a key that is easily guessed."""
        if key is not None and len(key) < SHORTEST_KEY:
            raise InputError(f"the API key has {len(key)} characters, expected {SHORTEST_KEY} or more; make one: "
                             "openssl rand -hex 32")  # fmt: skip
        if key is not None and not (key.isascii() and key.isprintable()):
            raise InputError("the API key holds characters that a header cannot carry; take letters, digits and marks")
        if key is None and not is_loopback(host):
            raise InputError(
                f"--host {host}: other machines could ask without a key; set one as HEADWISE_API_KEY, or stay at "
                "127.0.0.1"
            )
        return Door(host, None if key is None else hashlib.sha256(key.encode()).digest())

    def check(self, scope: Scope) -> None:
        """Raises Refused for who may not come in."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if len(headers.getlist("host")) != 1 or not re.fullmatch(r"[\w.-]+(:\d+)?|\[[\da-f:]+\](:\d+)?", host, re.I):
            raise Refused(400, "Security", "one Host header is needed, with a name and a port")
        if self.digest is None and not is_loopback(re.sub(r":\d+$", "", host).strip("[]")):
            raise Refused(403, "Security", "this server answers to localhost only; start it with an API key")
        if origin is not None and origin.split("://")[-1] != host:
            raise Refused(403, "Security", "pages of other sites may not ask")
        if self.digest is not None and not is_open(scope["method"], scope["path"]):
            given = headers.get("authorization", "").removeprefix("Bearer ").encode()
            if not hmac.compare_digest(hashlib.sha256(given).digest(), self.digest):
                raise Refused(401, "Security", "an API key is needed: Authorization: Bearer KEY")


def is_open(method: str, path: str) -> bool:
    """Whether no key is needed."""
    return bool(OPEN.fullmatch(path) or (method in ("GET", "HEAD") and PAGE.fullmatch(path)))


def is_loopback(host: str) -> bool:
    """Whether an address or name is of this machine only."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Lets requests in, gives each an id, counts and logs it: method, route, status, time; nothing of what it says."""

    def __init__(self, app: ASGIApp, door: Door, metrics: Metrics):
        self.app, self.door, self.metrics = app, door, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, status = time.perf_counter(), 499  # as nginx counts those whose client left
        given = Headers(scope=scope).get("x-request-id", "")
        scope["app"] = self  # so that Starlette raises what it would answer in a form of its own
        scope.setdefault("state", {})["id"] = number = given if ID.fullmatch(given) else secrets.token_hex(8)

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                headers["x-request-id"] = number
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self.door.check(scope)
            await self.app(scope, receive, sent)
        except ClientGone:
            self.metrics.gone.inc()
        except Exception as error:  # has no other name here, or it, and this call, would wait for the garbage collector
            told = self.refused(error, number)
            if status == 499:
                await told(scope, receive, sent)
        seconds = time.perf_counter() - began
        route = scope["state"].get("route", "other")
        self.metrics.answered(route, status, seconds)
        log.info("%s %s %s %d %.0f ms", number, scope["method"], route, status, 1000 * seconds)

    def refused(self, error: Exception, number: str) -> Response:
        """The answer to what went wrong, which is counted."""
        refused = as_refusal(error, number)
        self.metrics.refused.labels(refused.kind).inc()
        return refusal(refused, number)


def as_refusal(error: Exception, number: str) -> Refused:
    """What a client is told; a mistake of ours is logged."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, HTTPException):
        allow = (error.headers or {}).get("Allow")
        return Refused(error.status_code, "Validation", f"{error.detail}; see docs/serving.md", allow=allow)
    log.error("%s: %s at %s", number, type(error).__name__, place_of(error))
    return Refused(500, "Backend", "something went wrong here; the log has it by this request's id")


class ClientGone(Exception):
    """Nobody is there to answer."""


def place_of(error: BaseException) -> str:
    """Where an error came from, without its message, which may hold a text."""
    places: list[str] = []
    trace: Any = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " > ".join(places[-6:])
