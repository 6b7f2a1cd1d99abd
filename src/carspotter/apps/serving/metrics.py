"""What `/metrics` tells, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "carspotter_requests", "Requests by route and status", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "carspotter_request_seconds", "Time of requests", ("route",), buckets=SECONDS, registry=self.registry
        )
        self.photos = Counter(
            "carspotter_photos", "Photos by model and verdict", ("model", "verdict"), registry=self.registry
        )
        self.restarts = Counter("carspotter_worker_restarts", "Workers replaced", registry=self.registry)
        self.reloads = Counter("carspotter_model_reloads", "Models replaced", ("model",), registry=self.registry)
        self.waiting = Gauge("carspotter_photos_waiting", "Photos that wait for a worker", registry=self.registry)
        self.ready = Gauge("carspotter_workers_ready", "Workers that can take a photo", registry=self.registry)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self.registry)
