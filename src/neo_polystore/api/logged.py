"""The line that a request leaves in the log, where the settings want one."""

from __future__ import annotations

import logging
from typing import Final, Literal

import structlog
from starlette.types import Scope

from neo_polystore.ops.telemetry.http import UNROUTED

Which = Literal["all", "slow", "none"]

_logger: Final = structlog.get_logger("neo_polystore.api.request")


class RequestLines:
    """One line per request of those that are wanted: `slow` are also those that failed (5xx).

    It names the route's template, never the path, which may hold a key.
    """

    def __init__(self, which: Which = "slow", *, slow_ms: float = 1000.0):
        self._which = which
        self._slow = slow_ms / 1000

    def ended(self, scope: Scope, status: int, seconds: float) -> None:
        """Log the request, if it is one of those."""
        failed = status >= 500
        if self._which == "none" or not (failed or self._which == "all" or seconds >= self._slow):
            return
        client = scope.get("client")
        _logger.log(
            logging.ERROR if status == 500 else logging.WARNING if failed else logging.INFO,
            "request",
            method=scope["method"],
            route=getattr(scope.get("route"), "path", UNROUTED),
            status=int(status),
            milliseconds=round(seconds * 1000, 3),
            address=client[0] if client else None,
        )
