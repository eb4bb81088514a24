"""From a request to an answer: its body read within a deadline, its texts computed unless its client leaves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from torch import Tensor

from headwise.errors import InputError, listing
from headwise.reading.batches import Examples
from headwise.reading.text import Text, characters
from headwise.serving.batching import Abandoned, Batcher, Work
from headwise.serving.explaining import Explainer, Explaining
from headwise.serving.guard import ClientGone
from headwise.serving.limits import Limits
from headwise.serving.metrics import Metrics
from headwise.serving.models import Served, Shelf
from headwise.serving.refusals import Refused, overloaded
from headwise.serving.replies import as_json, reply
from headwise.tasks.task import Task

T = TypeVar("T")
SMALL = 10_000  # bytes of a request whose answer is written sooner than it is handed to another thread
FEW = 1_000  # numbers of outputs, of which the same is true
ABREAST = 2  # requests that begin or are answered in one round of the event loop: a crowd holds up nobody else
BODY_SECONDS = 20.0  # a body must be there by then
Can = Callable[[Served], bool]


@dataclass(eq=False)
class Service:
    """What answers requests. All tokenizers are used by one thread, `reader`: two would wait for each other."""

    shelf: Shelf
    batcher: Batcher
    limits: Limits
    metrics: Metrics
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "reader"))
    explainer: Explainer = field(default_factory=Explainer)
    gate: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, ABREAST))
    reading: int = 0  # requests whose texts are being made ready, or wait for that

    async def turn(self) -> None:
        """Wait for the next round of the event loop in which there is room."""
        async with self.gate:
            await asyncio.sleep(0)


class Call:
    """One request that is being answered, and what its answer's headers will say."""

    def __init__(self, request: Request, service: Service, body: bytes):
        self.request, self.service, self.raw = request, service, body
        self.headers: dict[str, str] = {}
        self.spent = dict.fromkeys(("characters", "tokens", "tokenization", "queue", "inference"), 0.0)

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body. Raises Refused where it is no JSON object."""
        return json_object(self.raw)

    def served(self, can: Can, what: str, name: str | None = None) -> Served:
        """The model that is asked: the one of the path, or the one named, or the first that can do it.

        Raises Refused where there is none.
        """
        models = self.service.shelf.models
        name = self.request.path_params.get("model") or name
        if name is not None and name not in models:
            raise Refused(404, "NotFound", f"no model {name[:80]!r} here; there are {listing(models)}")
        found = next((one for one in ([models[name]] if name else models.values()) if can(one)), None)
        if found is None:
            kinds = ", ".join(f"{one.name} ({one.model.task.name})" for one in models.values())
            raise Refused(422, "Validation", f"this takes a model {what}; here are {kinds}")
        self.headers |= {"x-model": quote(found.name, safe=" "), "x-model-version": found.version}
        return found

    def there(self) -> None:
        """Raises Refused where the path names a model that is not here. Who asks may have no key: it tells no name."""
        if self.request.path_params.get("model", "") not in ("", *self.service.shelf.models):
            raise Refused(404, "NotFound", "no such model here")

    async def ask(
        self,
        served: Served,
        texts: Sequence[Text],
        tell: Callable[[Examples, Tensor], T],
        *,
        truncate: bool = False,
        task: Task | None = None,
    ) -> T:
        """What tell makes of the outputs for some texts. task: as whose examples they are read, unless the model's.

        Raises Refused for too many texts, and for what the model does not read or does not read whole, unless it may
        be truncated.
        """
        self.spent["characters"] += self.refuse_too_much(len(texts), sum(map(characters, texts)))
        began = asyncio.get_running_loop().time()
        examples = await self.made_ready(partial(served.read, texts, task))
        if examples.tokens.cut.any() and not truncate:
            raise Refused(
                422,
                "Validation",
                f"text {first_cut(examples) + 1} is longer than the model reads, "
                f"{served.model.tokenizer.max_length} tokens at a time; shorten it, or allow truncation",
            )
        if len(examples.tokens.ids) > self.service.limits.max_tokens:
            raise Refused(
                413, "Validation", f"more than {self.service.limits.max_tokens:,} tokens; send several requests"
            )
        work = served.work(examples, task)
        self.service.batcher.submit(work)
        read = asyncio.get_running_loop().time()
        outputs = await self.unless_gone(work)
        await self.service.turn()
        self.spent["tokens"] += work.size
        self.spent["tokenization"] += read - began
        self.spent["queue"] += work.begun_at - work.queued_at
        self.spent["inference"] += work.done_at - work.begun_at
        here = examples.layout is None and outputs.numel() <= FEW  # no tokenizer is asked
        return await self.read(partial(tell, examples, outputs), here)

    async def made_ready(self, job: Callable[[], T]) -> T:
        """Texts as the model takes them, or whatever else a tokenizer makes. Raises Refused where too many requests
        wait to be read, or to be computed, or this one has waited too long."""
        limits, came = self.service.limits, time.monotonic()
        self.service.batcher.refuse_where_full()
        if self.service.reading >= limits.max_concurrent_requests:
            raise overloaded(1)

        def in_time() -> T:
            if time.monotonic() - came > limits.max_queue_seconds:
                raise overloaded(1)
            return job()

        self.service.reading += 1
        try:
            return await self.read(in_time)
        finally:
            self.service.reading -= 1

    async def read(self, job: Callable[[], T], here: bool = False) -> T:
        """Do something with a tokenizer, in the thread for it, or here. Raises Refused for a mistake in the texts."""
        try:
            return job() if here else await asyncio.get_running_loop().run_in_executor(self.service.reader, job)
        except InputError as error:
            raise Refused(422, "Tokenizer", str(error)) from None

    def refuse_too_much(self, texts: int, count: int) -> int:
        """Look at so many texts, of so many characters, before any tokenizer does. Raises Refused; else the count."""
        limits = self.service.limits
        if not texts:
            raise Refused(400, "Empty", "no text is given")
        if texts > limits.max_client_batch_size:
            raise Refused(
                413, "Validation", f"{texts:,} texts, expected {limits.max_client_batch_size:,} at most in a request"
            )
        if count > limits.max_characters:
            raise Refused(413, "Validation", f"{count:,} characters, expected {limits.max_characters:,} at most")
        return count

    async def unless_gone(self, work: Work | Explaining) -> Any:
        """The outputs of work. Raises ClientGone where nobody waits for them any more; what is left is not computed."""
        answer: asyncio.Future[Any] = asyncio.wrap_future(work.outputs)
        gone: asyncio.Future[Any] = asyncio.ensure_future(self.left())
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientGone
            return answer.result()
        except Abandoned:
            raise ClientGone from None
        finally:
            gone.cancel()
            if not answer.done():
                answer.cancel()
                work.abandon()

    async def left(self) -> None:
        """Come back when the client has left."""
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    def timing(self) -> dict[str, str]:
        """Headers as text-embeddings-inference has them, in milliseconds."""
        counts = {f"x-compute-{name}": str(int(self.spent[name])) for name in ("characters", "tokens")}
        times = {f"x-{name}-time": f"{1000 * self.spent[name]:.0f}" for name in ("tokenization", "queue", "inference")}
        total = f"{1000 * sum(self.spent[name] for name in ('tokenization', 'queue', 'inference')):.0f}"
        return {"x-compute-type": "cpu", "x-compute-time": total, "x-total-time": total, **counts, **times}


def first_cut(examples: Examples) -> int:
    """The first text that is cut, of those that are one or several sequences each."""
    cut = np.flatnonzero(examples.tokens.cut)[0]
    return int(cut if examples.counts is None else np.searchsorted(np.cumsum(examples.counts), cut, side="right"))


Answer = Callable[[Call], Awaitable[Any]]


def route(path: str, answers: Mapping[str, Answer], service: Service) -> Route:
    """A route whose answers, by method, are JSON, or responses already."""

    async def endpoint(request: Request) -> Response:
        request.scope["state"]["route"] = path
        if request.method == "POST":
            refuse_other_type(request)
            await service.turn()
        call = Call(request, service, await body_of(request, service.limits.payload_limit))
        found = await answers["GET" if request.method == "HEAD" else request.method](call)
        if isinstance(found, Response):
            return found
        timing = call.timing() if call.spent["tokens"] else {}
        written = as_json(found) if len(call.raw) < SMALL else await asyncio.to_thread(as_json, found)
        return reply(written, {**call.headers, **timing})

    return Route(path, endpoint, methods=list(answers))


def refuse_other_type(request: Request) -> None:
    """Raises Refused for a body that is said to be no JSON. A client of Open Inference says nothing."""
    headers = request.headers
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    tensors = request.url.path.endswith("/infer") and kind in ("", "application/octet-stream")
    if kind != "application/json" and not tensors:
        raise Refused(415, "Validation", "expected Content-Type: application/json")
    if headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "Validation", "expected a body that is not compressed")


async def body_of(request: Request, most: int) -> bytes:
    """A request's body. Raises Refused for one that is too large, and for one that does not come."""
    body = bytearray()

    async def received() -> None:
        size = 0
        async for chunk in request.stream():  # what is too much is read all the same, or no answer would be
            size += len(chunk)
            if size <= most:
                body.extend(chunk)
            elif size > 8 * most:
                break
        if size > most:
            raise Refused(413, "Validation", f"a body of more than {most:,} bytes; send several requests")

    try:
        await asyncio.wait_for(received(), BODY_SECONDS)
    except asyncio.TimeoutError:
        raise Refused(408, "Validation", f"the body did not come within {BODY_SECONDS:.0f} s") from None
    except ClientDisconnect:
        raise ClientGone from None
    return bytes(body)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises Refused where there is none."""

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        found = json.loads(body, parse_constant=constant)
    except (ValueError, RecursionError):
        raise Refused(400, "Validation", "the body is no valid JSON") from None
    if not isinstance(found, dict):
        raise Refused(422, "Validation", f"expected a JSON object, found {type(found).__name__}")
    return found
