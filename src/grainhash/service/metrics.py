"""What a service counts, for Prometheus."""

from __future__ import annotations

from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOGETHER_BUCKETS = (1, 2, 3, 4, 6, 8)


class Metrics:
    """The counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "grainhash_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "grainhash_request_seconds", "From a request to its answer.", ["route"], registry=self.registry
        )
        self.waiting = Gauge("grainhash_waiting", "Jobs that wait for a core.", registry=self.registry)
        self.pictures = Gauge("grainhash_pictures", "Pictures in the gallery.", registry=self.registry)
        self.together = Histogram(
            "grainhash_queries_together",
            "Queries that the network saw at once.",
            buckets=TOGETHER_BUCKETS,
            registry=self.registry,
        )

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)


class Counting:
    """ASGI middleware: counts and times requests by the route that answers them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")  # a made-up path makes no series of its own
            known = scope["method"] in {"GET", "POST", "DELETE", "OPTIONS"}
            method = scope["method"] if known else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(perf_counter() - started)
