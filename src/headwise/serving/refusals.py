"""What a request is refused with: one form for all, whichever client asks."""

from __future__ import annotations

from typing import Literal

Kind = Literal["Validation", "Tokenizer", "Empty", "Overloaded", "Backend", "Unhealthy", "NotFound", "Security"]
"""As text-embeddings-inference calls them, and two more."""


class Refused(Exception):
    """A request that is not answered. The message is for its client only: it may quote what was sent, so no log has it.

    retry_after: seconds to wait before asking again. allow: the methods there are, where another one was used.
    """

    def __init__(self, status: int, kind: Kind, message: str, retry_after: int | None = None, allow: str | None = None):
        super().__init__(message)
        self.status, self.kind, self.message, self.retry_after, self.allow = status, kind, message, retry_after, allow


def overloaded(seconds: float) -> Refused:
    """Too much waits already: come back in so many seconds."""
    retry_after = max(1, round(seconds))
    return Refused(429, "Overloaded", f"too many requests wait; ask again in {retry_after} s", retry_after)
