"""The server: all routes behind the guard, and uvicorn with deadlines around it."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import secrets
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headwise.errors import InputError
from headwise.golden import read_golden, replay
from headwise.reading.text import Text
from headwise.serving.asking import Answer, Call, Service, route
from headwise.serving.batching import Batcher
from headwise.serving.guard import Door, Guard
from headwise.serving.limits import Limits
from headwise.serving.metrics import Metrics
from headwise.serving.models import Served, Shelf
from headwise.serving.openapi import document
from headwise.serving.refusals import Refused
from headwise.serving.replies import as_json, refusal
from headwise.serving.shapes import cohere, hub, mlflow, open_inference, openai, own, tei
from headwise.training.recipe import Precision

log = logging.getLogger("headwise.serve")
HEAD_BYTES = 65_536
HEAD_SECONDS = 10.0  # from a connection, or the first byte on a kept one, to the end of a request's head
READ_SECONDS = 30.0  # from when a client reads too slowly until it has caught up
GRACE_SECONDS = 30  # for requests that are being answered when the server is told to end

MODEL_GETS: dict[str, Answer] = {
    **own.MODEL_GETS,
    "/info": tei.info,
    "/health": open_inference.alive,
    "/ping": mlflow.ping,
}
GETS: dict[str, Answer] = {
    **own.GETS,
    **MODEL_GETS,
    "/health/live": open_inference.alive,
    "/health/ready": open_inference.alive,
    "/version": mlflow.told_version,
    "/v1/models": openai.models,
    "/v2": open_inference.server,
    "/v2/health/live": open_inference.alive,
    "/v2/health/ready": open_inference.alive,
    **{f"/v2/models/{{model}}{more}": open_inference.model for more in ("", "/versions/{version}")},
    **{f"/v2/models/{{model}}{more}/ready": open_inference.model_ready for more in ("", "/versions/{version}")},
}
MODEL_POSTS: dict[str, Answer] = {
    **tei.ROUTES,
    **own.MODEL_POSTS,
    "/v1/embeddings": openai.embeddings,
    "/v2/rerank": cohere.rerank,
    "/invocations": mlflow.invocations,
}
POSTS: dict[str, Answer] = {
    "/": tei.own_task,
    **MODEL_POSTS,
    **{f"/v2/models/{{model}}{more}/infer": open_inference.infer for more in ("", "/versions/{version}")},
    "/models/{model}": hub.pipeline,
    "/models/{model}/pipeline/{task}": hub.pipeline,
}


async def metrics(call: Call) -> Response:
    """GET /metrics, for Prometheus."""
    return Response(call.service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def described(call: Call) -> Any:
    """GET /openapi.json: this document."""
    models = call.service.shelf.models.values()
    return document(ANSWERS, {one.name: one.version for one in models})


ANSWERS: dict[str, dict[str, Answer]] = {
    "GET": {
        **GETS,
        "/metrics": metrics,
        "/openapi.json": described,
        **{f"/models/{{model}}{path}": answer for path, answer in MODEL_GETS.items()},
    },
    "POST": {**POSTS, **{f"/models/{{model}}{path}": answer for path, answer in MODEL_POSTS.items()}},
}
"""By method and path. What is there for the first model is there for each, below /models/{model}."""


def application(service: Service, door: Door) -> ASGIApp:
    """Everything that is answered."""
    paths = dict.fromkeys(path for by_path in ANSWERS.values() for path in by_path)
    routes = [
        route(path, {method: by_path[path] for method, by_path in ANSWERS.items() if path in by_path}, service)
        for path in paths
    ]
    return Guard(Router(routes, redirect_slashes=False, default=nothing), door, service.metrics)


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """Where no route is."""
    raise Refused(404, "NotFound", "there is nothing at this address; docs/serving.md lists what there is")


class Bounded(HttpToolsProtocol):
    """uvicorn's connections, closed where the head of a request does not come or end, or an answer is not read.

    uvicorn waits for all of it forever.
    """

    late: asyncio.TimerHandle | None = None
    slow: asyncio.TimerHandle | None = None
    head: int | None = None  # bytes that came while the head that is being read has not ended

    def __init__(self, *given: Any, **named: Any):
        super().__init__(*given, **named)
        self.access_log = False  # it would have whole addresses, whatever a client wrote there

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        self.expect()

    def data_received(self, data: bytes) -> None:
        """Some bytes came; with the end of a head the waiting for it ends."""
        if self.waits and self.late is None:
            self.expect()
        super().data_received(data)
        if not self.waits:
            self.expect_no_more()
        if self.head is not None:
            self.head += len(data)
            if self.head > HEAD_BYTES:
                self.send_400_response(f"the head of a request is longer than {HEAD_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self.head = 0

    def on_headers_complete(self) -> None:
        """It is there."""
        self.head = None
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """The one form of errors for what is no HTTP, too; nothing more is read."""
        answer = refusal(Refused(400, "Validation", msg), secrets.token_hex(8))
        headers = b"".join(b"%b: %b\r\n" % pair for pair in (*answer.raw_headers, (b"connection", b"close")))
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + headers + b"\r\n" + answer.body)
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """The connection is no longer needed; a client that does not read its last answer does not keep it."""
        super().timeout_keep_alive_handler()
        self.expect()

    def pause_writing(self) -> None:
        """A client reads slower than it is answered; it has some time for that."""
        super().pause_writing()
        self.slow = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self.expect_no_reader()

    def expect_no_reader(self) -> None:
        """Nothing waits to be read, or nobody is there."""
        if self.slow is not None:
            self.slow.cancel()
            self.slow = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left."""
        self.expect_no_more()
        self.expect_no_reader()
        super().connection_lost(exc)

    @property
    def waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def expect(self) -> None:
        """Wait for a head, and not longer."""
        self.late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def expect_no_more(self) -> None:
        """The head is there, or nobody is."""
        if self.late is not None:
            self.late.cancel()
            self.late = None


class Server:
    """Models behind HTTP, from the first to the last request. Raises InputError for what cannot be served."""

    def __init__(
        self,
        directories: Sequence[Path],
        host: str = "127.0.0.1",
        port: int = 8000,
        key: str | None = None,
        limits: Limits | None = None,
        precision: Precision = "float32",
    ):
        door, metrics, limits = Door.of(host, key), Metrics(), limits or Limits()
        self.batcher = Batcher(limits, metrics.computed)
        metrics.watch(self.batcher)

        def swapped(served: Served, sound: bool) -> None:
            metrics.swapped(served, sound)
            if served.rate is not None:
                self.batcher.rates.setdefault(served.model.checkpoint.model, served.rate)
            settle()

        try:
            self.shelf = Shelf(directories, swapped, precision, limits.max_batch_tokens)
            self.socket = bound(host, port)
        except InputError:
            self.batcher.close()
            raise
        app = application(Service(self.shelf, self.batcher, limits, metrics), door)
        self.uvicorn = uvicorn.Server(
            uvicorn.Config(
                app,
                host,
                port,
                http=Bounded,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )

    @property
    def address(self) -> str:
        """Where it really listens."""
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self) -> None:
        """Serve until told to end, then answer what was accepted."""
        with ExitStack() as stack:
            stack.enter_context(closing(self.batcher))
            stack.enter_context(closing(self.shelf))
            self.shelf.thread.start()
            settle()
            self.uvicorn.run([self.socket])


def settle() -> None:
    """Take all that is loaded out of the garbage collector's rounds, and let it go round less often.

    It stops every thread while it looks: at PyTorch's third of a million objects and the models, for 0.3 s each time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 50)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError where none can be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or an answer's end waits 40 ms for an ACK
        return listening
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise InputError(f"{host}, port {port}: cannot be listened at ({reason}); choose another") from None


def write_log() -> None:
    """Log to standard error, a line for each event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger("headwise.serve").handlers = [handler]
    logging.getLogger("headwise.serve").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").handlers = [handler]
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)


def serve(
    directories: Sequence[Path],
    host: str,
    port: int,
    key: str | None,
    limits: Limits | None = None,
    precision: Precision = "float32",
) -> None:
    """Serve in this thread, the main one, until SIGTERM or Ctrl-C."""
    server = Server(directories, host, port, key, limits, precision)
    write_log()
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when it is done
    for served in server.shelf.models.values():
        log.info("%s: %s, version %s", served.name, served.model.task.name, served.version)
    log.info("listening at %s; SIGTERM or Ctrl-C ends it", server.address)
    server.run()


def checked(directories: Sequence[Path], precision: Precision = "float32") -> list[str]:
    """Each model's golden records asked over HTTP, and what came of it. Raises InputError where an answer differs."""
    server = Server(directories, port=0, precision=precision)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.uvicorn.started:
        if not thread.is_alive():
            raise InputError("the server did not start; the lines above say why")
        time.sleep(0.02)
    said = []
    try:
        for name, served in server.shelf.models.items():
            golden = read_golden(served.directory, precision)
            if golden:
                replay(golden, partial(asked_over_http, f"{server.address}/models/{quote(name)}"))
            said.append(
                f"{name} {served.version}: "
                + (f"{len(golden['texts'])} golden records answered as in training" if golden else "no golden records")
            )
    finally:
        server.uvicorn.should_exit = True
        thread.join()
    return said


def asked_over_http(url: str, texts: Sequence[Text]) -> list[dict[str, Any]]:
    """The predictions of a served model. Raises InputError where it refuses."""
    body = as_json({"inputs": texts, "params": {"truncate": True}})
    request = urllib.request.Request(f"{url}/invocations", body, {"content-type": "application/json"})
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine
    try:
        with straight.open(request, timeout=120) as answer:
            return json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        raise InputError(f"{url}: {json.load(error)['error']}") from None
