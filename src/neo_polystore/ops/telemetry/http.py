"""Requests to the API, counted by route template, method and class of status."""

from __future__ import annotations

from neo_polystore.activity import Durations
from neo_polystore.ops.telemetry.families import (
    HTTP_DURATION,
    HTTP_IN_FLIGHT,
    HTTP_REQUESTS,
    Page,
)

UNROUTED = "(none)"
"""The route of requests that no route matched."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpCounts:
    """What one application has answered."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._answered: dict[tuple[str, str, int], Durations] = {}

    def add(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answer. A method is any text that a client sends; unusual ones are one."""
        key = (route, method if method in _METHODS else "other", status // 100)
        durations = self._answered.get(key)
        if durations is None:
            durations = self._answered[key] = Durations()
        durations.add(seconds)

    def put(self, page: Page) -> None:
        """Add to a page."""
        page.add(HTTP_IN_FLIGHT, self.in_flight)
        for (route, method, status), durations in self._answered.items():
            labels = (route, method, f"{status}xx")
            page.add(HTTP_REQUESTS, sum(durations.counts), *labels)
            page.spread(HTTP_DURATION, durations, *labels)
