"""Explaining: one answer at a time in a thread of its own, while somebody waits for it, and not for ever."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from headwise.errors import InputError
from headwise.insight.page import as_data, clean
from headwise.model import Model
from headwise.reading.text import Text
from headwise.serving.batching import Abandoned
from headwise.serving.refusals import Refused, overloaded

MOST_CHARACTERS = 2_000  # an explanation is some hundred passes over a text
MOST_SECONDS = 60.0
COME_BACK = 3.0  # seconds, where another one is being explained


class Explaining:
    """An answer that is being explained; what the page of `headwise explain` reads, in `outputs`."""

    def __init__(self, model: Model, text: Text, how: dict[str, Any]):
        self.model, self.text, self.how = model, text, how
        self.outputs: Future[dict[str, Any]] = Future()
        self.abandoned = False
        self.ends = 0.0

    def abandon(self) -> None:
        """Nobody waits for it any more: the next pass over its text is not made."""
        self.abandoned = True
        self.outputs.cancel()

    def run(self) -> dict[str, Any]:
        """Everything but the weights of attention. Raises Refused for what cannot be explained, or not in time."""
        self.ends = time.monotonic() + MOST_SECONDS
        watched = self.model.checkpoint.model.encoder.register_forward_pre_hook(self.go_on)
        try:
            return clean(as_data(self.model.explain(self.text, layers=[], **self.how)))
        except InputError as error:
            raise Refused(422, "Validation", str(error)) from None
        finally:
            watched.remove()

    def go_on(self, *_: Any) -> None:
        """Called before each pass. Raises Abandoned where nobody waits, Refused where it takes too long."""
        if self.abandoned:
            raise Abandoned
        if time.monotonic() > self.ends:
            raise Refused(422, "Validation", f"explaining it takes more than {MOST_SECONDS:.0f} s; explain a part")


class Explainer:
    """Explains one answer at a time, so that no more than one thread is taken from those who only ask."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, "explainer")
        self.current: Explaining | None = None

    def refuse_where_busy(self) -> None:
        """Raises Refused where another one is not done, unless nobody waits for that any more."""
        before = self.current
        if before is not None and not (before.abandoned or before.outputs.done()):
            raise overloaded(COME_BACK)

    def submit(self, one: Explaining) -> None:
        """Begin with it. Raises Refused where another one was begun."""
        self.refuse_where_busy()
        one.outputs = self.pool.submit(one.run)
        self.current = one
        one.outputs.add_done_callback(lambda _: self.forget(one))

    def forget(self, one: Explaining) -> None:
        """It is done, and its model may go."""
        if self.current is one:
            self.current = None
