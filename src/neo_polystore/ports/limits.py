"""Rate limits: admission by weighted cost, judged on the server's clock."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

from neo_polystore.errors import UsageError

Algorithm = Literal["fixed_window", "sliding_window", "sliding_counter", "token_bucket"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

LARGEST = 10**15 - 1
"""The largest limit and cost: what an Integer of a structured field may say (RFC 9651, 3.3.1)."""

LONGEST = 366 * 86400
"""The longest window in seconds; also the longest that a bucket may take to fill."""

MOST = 16
"""How many limits one check may name."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many units in so many seconds, by one of four algorithms.

    `fixed_window`: the window opens with the first unit admitted and ends `window_seconds` later;
    around the end of one and the beginning of the next, twice the limit may pass.

    `sliding_window`: an exact log. No interval of the window's length, wherever it begins, sees
    more than the limit. Costs one entry (some 25 bytes) per admitted check and instant.

    `sliding_counter`: twenty counters per window in place of the log. Never admits more than the
    limit in any window either; a unit is held for up to a twentieth of the window (5 percent) too
    long. Memory does not grow with the limit.

    `token_bucket`: tokens flow in at `limit` per `window_seconds`, the bucket holds `burst` (the
    limit, where nothing is said), a check takes `cost` of them. In any interval of t seconds at
    most `burst + t * limit / window_seconds` units are admitted.

    Raises UsageError unless all numbers are positive whole numbers of a sensible size.
    """

    limit: int
    window_seconds: int = 60
    algorithm: Algorithm = "fixed_window"
    burst: int | None = None

    def __post_init__(self) -> None:
        whole("limit", self.limit, LARGEST)
        whole("window_seconds", self.window_seconds, LONGEST)
        if self.algorithm not in ALGORITHMS:
            raise UsageError(
                f"algorithm must be one of {', '.join(ALGORITHMS)}, got {self.algorithm!r}"
            )
        if self.burst is None:
            return
        if self.algorithm != "token_bucket":
            raise UsageError(f"burst is for token_bucket only, not for {self.algorithm}")
        whole("burst", self.burst, LARGEST)
        if self.burst * self.window_seconds > self.limit * LONGEST:
            raise UsageError(
                f"burst: a bucket of {self.burst} would take longer than {LONGEST} seconds to fill"
            )

    @property
    def capacity(self) -> int:
        """The most that can be admitted at once; a cost above it never is."""
        return self.burst or self.limit


class Decision(NamedTuple):
    """What one limit says.

    `limit` is the most that it ever admits at once (a bucket's burst), `remaining` what it would
    admit now, `reset_seconds` how long until more becomes available (until the window ends; until
    the oldest unit leaves; until the next token), 0 where nothing is missing. `retry_after` is
    the time in seconds after which this cost is admitted if nobody else takes anything: 0 where
    it was admitted, None where it never will be, because the cost is above `limit`. `at` is when
    it was judged, in seconds since the Unix epoch on the server's clock.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float
    retry_after: float | None
    at: float


class Check(NamedTuple):
    """`cost` units of one limit; `endpoint` names what is limited (a route, a policy)."""

    endpoint: str
    limit: Limit
    cost: int = 1


class Limits(Protocol):
    """Admission by weighted cost. Concurrent checks never admit more than the limit.

    Time is the server's alone: clocks of clients change nothing. Where the server's own clock
    steps back, nothing more is admitted than before, and nobody is held for longer than a window.
    A limit that is changed holds at once, for what was counted before, too.
    """

    async def check(
        self,
        client: str,
        endpoint: str,
        *,
        limit: int,
        window_seconds: int = 60,
        cost: int = 1,
        algorithm: Algorithm = "fixed_window",
        burst: int | None = None,
    ) -> Decision:
        """Admit `cost` units or refuse them; see `Limit`. A refused check counts nothing.

        Raises UsageError unless the numbers are positive whole numbers, and UnavailableError.
        """

    async def check_all(self, client: str, checks: Sequence[Check]) -> list[Decision]:
        """Admit all the checks or none, in one round trip; one decision per check, in order.

        They are admitted if every decision is `allowed`. Otherwise nothing is counted anywhere,
        and those that are `allowed` say what they would have admitted. Raises UsageError for no
        checks, more than `MOST`, or two of one endpoint and algorithm.
        """

    async def peek(self, client: str, check: Check) -> Decision:
        """What `check` would answer now; counts nothing."""

    async def reset(self, client: str, endpoint: str, *, dry_run: bool = False) -> int:
        """Forget what the client used, under every algorithm; answers how many counters it has."""


def whole(name: str, value: object, largest: int) -> None:
    """Raise UsageError unless it is a whole number from 1 to `largest`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= largest:
        huge = isinstance(value, int) and value.bit_length() > 128  # too long to print, or at all
        shown = "a far larger one" if huge else reprlib.repr(value)
        raise UsageError(f"{name} must be a whole number from 1 to {largest}, got {shown}")
