"""How much a server takes: of one request, and of all that wait."""

from __future__ import annotations

from dataclasses import dataclass

from headwise.knobs import knob, refuse_out_of_range


@dataclass(frozen=True)
class Limits:
    """What a request may hold, and what may wait. Names are text-embeddings-inference's where it has one.

    Raises InputError for values out of range.
    """

    payload_limit: int = knob(2_000_000, "bytes of a request's body (2,000,000)", 1)
    max_characters: int = knob(400_000, "of all texts of a request, counted before they are tokenized (400,000)", 1)
    max_client_batch_size: int = knob(1_024, "texts of a request (1,024)", 1)
    max_tokens: int = knob(65_536, "of a request (65,536)", 1)
    max_batch_tokens: int = knob(512, "computed at once, unless one text alone has more (512)", 1)
    max_concurrent_requests: int = knob(512, "that wait; the next one gets 429 (512)", 1)
    max_queue_seconds: float = knob(
        10.0, "that a request waits; where it would take longer it gets 429 (10)", 0.1, 3600
    )

    def __post_init__(self) -> None:
        refuse_out_of_range(self)
