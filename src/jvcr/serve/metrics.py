"""What the service counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one service, of which ``waiting`` tells how many images wait for a thread."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("jvcr_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "jvcr_request_seconds",
            "From the end of a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.images = Counter("jvcr_images", "Images and frames looked at.", registry=self.registry)
        self.faces = Counter("jvcr_faces", "Faces detected.", registry=self.registry)
        self.streams = Gauge("jvcr_streams", "Open WebSocket connections.", registry=self.registry)
        Gauge("jvcr_waiting_images", "Images that wait for a thread.", registry=self.registry).set_function(waiting)

    def text(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self.registry)
