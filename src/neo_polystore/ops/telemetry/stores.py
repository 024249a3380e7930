"""What stores and the wrappers around their ports have counted, as families."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, asdict
from typing import Any, ClassVar, Protocol, runtime_checkable

from neo_polystore.activity import Activity, Recorder
from neo_polystore.ops.telemetry import families as f
from neo_polystore.ops.telemetry.families import Page
from neo_polystore.ports.outbox import Deferring

_READS = {
    "hits": "hit",
    "local": "local",
    "shared": "shared",
    "misses": "miss",
    "bypassed": "bypassed",
}
_FILLS = ("filled", "refused", "uncacheable")


@runtime_checkable
class CacheCounts(Protocol):
    """What a cached port counts: a dataclass of whole numbers, with these among them."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    hits: int
    misses: int
    failures: int
    uncertain: int


@runtime_checkable
class SpoolCounts(Protocol):
    """What a port counts that has the outbox behind it."""

    queued: int
    failures: int


def put_activity(page: Page, store: str, activity: Activity) -> None:
    """One store's."""
    for pool, connections in activity.connections.items():
        page.add(f.CONNECTIONS_ACTIVE, connections.active, store, pool)
        page.add(f.CONNECTIONS_IDLE, connections.idle, store, pool)
    page.add(f.CONNECTION_USES, activity.uses, store)
    page.add(f.CONNECTIONS_OPENED, activity.opened, store)
    _put_recorded(page, store, activity.recorder)
    for operation, counts in activity.operations.items():
        page.add(f.OPERATIONS, counts.committed, store, operation, "committed")
        page.add(f.OPERATIONS, counts.failed, store, operation, "failed")
        page.add(f.OPERATION_RETRIES, counts.retries, store, operation)
    for reason, times in activity.retries.items():
        page.add(f.RETRIES, times, store, reason)
    page.add(f.RETRIES_EXHAUSTED, activity.exhausted, store)
    for kind, gathered in activity.gathered.items():
        page.add(f.GATHERED_ITEMS, gathered.items, store, kind)
        page.add(f.GATHERED_BATCHES, gathered.batches, store, kind)
        page.add(f.GATHERED_REFUSED, gathered.refused, store, kind)
        page.add(f.GATHERED_WAITING, gathered.waiting, store, kind)


def _put_recorded(page: Page, store: str, recorder: Recorder) -> None:
    page.spread(f.CONNECTION_WAITS, recorder.waits, store)
    for operation, durations in recorder.statements.items():
        page.spread(f.QUERIES, durations, store, operation)
    for operation, outcomes in recorder.transactions.items():
        page.spread(f.TRANSACTIONS, outcomes.committed, store, operation, "committed")
        page.spread(f.TRANSACTIONS, outcomes.failed, store, operation, "failed")
    for operation, kinds in recorder.failures.items():
        for kind, times in kinds.items():
            page.add(f.ERRORS, times, store, operation, kind)


def put_port(page: Page, data_type: str, port: Any) -> None:
    """What stands between the facade and the engine for one data type."""
    for layer in _layers(port):
        counts = getattr(layer, "counts", None)
        if isinstance(counts, CacheCounts):
            for name, number in asdict(counts).items():
                _put_cache(page, data_type, name, number)
        elif isinstance(counts, SpoolCounts):
            page.add(f.SPOOL_QUEUED, counts.queued, data_type)
            page.add(f.SPOOL_FAILURES, counts.failures, data_type)


def _put_cache(page: Page, data_type: str, name: str, number: int) -> None:
    if name in _READS:
        page.add(f.CACHE_READS, number, data_type, _READS[name])
    elif name in _FILLS:
        page.add(f.CACHE_FILLS, number, data_type, name)
    elif name == "failures":
        page.add(f.CACHE_FAILURES, number, data_type)
    elif name == "uncertain":
        page.add(f.CACHE_UNCERTAIN, number, data_type)
    else:
        page.add(f.CACHE_EVENTS, number, data_type, name)


def _layers(port: Any) -> Iterator[Any]:
    yield port
    if isinstance(port, Deferring):
        yield from _layers(port.direct)
