"""What Prometheus may know: counts and times, never a text."""

from __future__ import annotations

from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from headwise.serving.batching import Batcher, Computed
from headwise.serving.models import Served

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TOKENS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


class Metrics:
    """The metrics of one server. A route is a pattern of ours, a model a name of ours: a client cannot add to them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"namespace": "headwise", "registry": self.registry}
        self.requests = Counter("requests", "Requests answered, by route and status", ("route", "status"), **own)
        self.latency = Histogram("request_seconds", "From head to answer", ("route",), buckets=SECONDS, **own)
        self.refused = Counter("refused", "Requests refused, by why", ("reason",), **own)
        self.gone = Counter("clients_gone", "Requests whose client left before the answer", **own)
        self.waiting = Gauge("queue_requests", "Requests that wait or are computed", **own)
        self.waiting_tokens = Gauge("queue_tokens", "Tokens that wait", **own)
        self.dropped = Gauge("queue_dropped", "Pieces of work that were not computed as nobody waited", **own)
        self.tokens = Histogram("batch_tokens", "Tokens of a computed batch", buckets=TOKENS, **own)
        self.computing = Histogram("batch_seconds", "Time a batch took", buckets=SECONDS, **own)
        self.versions = Gauge("model_info", "The version of a model that is served", ("model", "version"), **own)
        self.swaps = Counter("model_versions", "Versions put in place, and refused", ("model", "outcome"), **own)

    def watch(self, batcher: Batcher) -> None:
        """Read these of the queue whenever somebody asks."""
        self.waiting.set_function(lambda: batcher.works)
        self.waiting_tokens.set_function(lambda: batcher.waiting_tokens)
        self.dropped.set_function(lambda: batcher.dropped)

    def computed(self, batch: Computed) -> None:
        """A batch was computed."""
        self.tokens.observe(batch.tokens)
        self.computing.observe(batch.seconds)

    def swapped(self, served: Served, sound: bool) -> None:
        """A version was put in place; if not sound, one was refused and this one goes on."""
        self.swaps.labels(served.name, "served" if sound else "refused").inc()
        if sound:
            self.versions.remove_by_labels({"model": served.name})
            self.versions.labels(served.name, served.version).set(1)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self.requests.labels(route, str(status)).inc()
        self.latency.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
