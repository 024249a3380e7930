"""Rate limits: a fixed window per client and endpoint, counted on the server's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Decision:
    """`remaining` is what is left in this window; `reset_seconds` until the window ends."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float


class Limits(Protocol):
    """Admission by weighted cost. Concurrent checks never admit more than the limit."""

    async def check(
        self, client: str, endpoint: str, *, limit: int, window_seconds: int = 60, cost: int = 1
    ) -> Decision:
        """Admit `cost` units if they fit into the window, which opens with the first one admitted.

        A refused check counts nothing. Raises UsageError unless limit, window and cost are
        positive whole numbers.
        """
