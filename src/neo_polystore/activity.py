"""What a store has done since it was made, as plain numbers: durations, failures, counts.

Engines count here and know nothing of who reads it; `ops.telemetry` turns it into metrics when
somebody asks. Counting is one look in a dictionary and a few additions per statement (which may
carry a hundred records), without locks: it belongs to the event loop that uses the store.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, Generic, Self, TypeVar

from neo_polystore.coalesce import Counts
from neo_polystore.errors import NotFoundError, PolystoreError

T = TypeVar("T")

BOUNDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""The upper bounds of a histogram's buckets, in seconds; beyond the last is one more."""

MOST_NAMES: Final = 200
OTHER: Final = "other"
"""What is counted under more names than these is counted together, as `OTHER`: a name that was
made of data costs neither memory nor a metric's series."""

SLOW: Final = 1.0
"""Seconds from which on a call of a store has a line in the log."""

Listener = Callable[[str, str, float], None]
"""Is told store, operation and seconds of each call that has ended, in the task that made it."""

_listeners: list[Listener] = []
_log = logging.getLogger(__name__)


def listen(listener: Listener) -> Callable[[], None]:
    """Tell this of every call of a store in this process, until what is returned is called."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


class Durations:
    """How often something took how long: a count per bucket of `BOUNDS`, and seconds in all."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class ByName(dict[str, T], Generic[T]):
    """Something per name, made at its first use; what is beyond `MOST_NAMES` shares `OTHER`."""

    def __init__(self, make: Callable[[], T]):
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> T:
        if len(self) >= MOST_NAMES:
            name = OTHER
        return self.setdefault(name, self._make())


@dataclass(slots=True)
class Outcomes:
    """How long transactions took, apart by how they ended."""

    committed: Durations = field(default_factory=Durations)
    failed: Durations = field(default_factory=Durations)


class Recorder:
    """Durations and failures of one store's named operations; waits for a free connection."""

    def __init__(self, store: str = "") -> None:
        self.store = store
        self.statements: ByName[Durations] = ByName(Durations)
        self.transactions: ByName[Outcomes] = ByName(Outcomes)
        self.failures: ByName[Counter[str]] = ByName(Counter)
        self.waits = Durations()

    def statement(self, operation: str) -> Statement:
        """A context around one call of the store: its time, and its failure, count."""
        return Statement(self, operation)

    def took(self, operation: str, seconds: float) -> None:
        """Count one call of the store that has ended."""
        self.statements[operation].add(seconds)
        if seconds >= SLOW:
            told = {"store": self.store, "operation": operation, "seconds": round(seconds, 3)}
            _log.info("slow call of a store", extra=told)
        for listener in _listeners:
            listener(self.store, operation, seconds)

    def failed(self, operation: str, error: PolystoreError) -> None:
        """Count a failure by its class. That something is not there is an answer and no failure."""
        if not isinstance(error, NotFoundError):
            self.failures[operation][type(error).__name__] += 1


class Statement:
    """See `Recorder.statement`. Put it outside of what translates the driver's errors."""

    __slots__ = ("_operation", "_recorder", "_started")

    def __init__(self, recorder: Recorder, operation: str):
        self._recorder = recorder
        self._operation = operation

    def __enter__(self) -> Self:
        self._started = perf_counter()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        seconds = perf_counter() - self._started
        self._recorder.took(self._operation, seconds)
        if isinstance(error, PolystoreError):
            self._recorder.failed(self._operation, error)


@dataclass(frozen=True, slots=True)
class Connections:
    """How many connections are in use now, and how many are open and wait to be used."""

    active: int
    idle: int


@dataclass(slots=True)
class OperationCounts:
    """What became of the operations of one name; `retries` are runs beyond each one's first."""

    committed: int = 0
    failed: int = 0
    retries: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Activity:
    """One store's numbers, as they are at the moment of the call.

    `connections` are apart by what they are for. `uses` is how often one was taken, `opened` how
    often one had to be opened. `gathered` is by what was gathered, `retries` by why something was
    run again, `exhausted` what lost the last time as well, `operations` by name.
    """

    recorder: Recorder
    connections: Mapping[str, Connections] = field(default_factory=dict)
    uses: int | None = None
    opened: int | None = None
    gathered: Mapping[str, Counts] = field(default_factory=dict)
    retries: Mapping[str, int] = field(default_factory=dict)
    exhausted: int | None = None
    operations: Mapping[str, OperationCounts] = field(default_factory=dict)
