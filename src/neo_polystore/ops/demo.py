"""The proof that routing works: a sample of every data type, written, read back, written again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neo_polystore.ids import uuid7
from neo_polystore.polystore import Polystore
from neo_polystore.records.base import Record
from neo_polystore.records.scope import Scope
from neo_polystore.samples import SAMPLED, samples

CACHE_KEYS = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One data type's proof.

    `written` records were given to the facade and are stored (new or from an earlier demo),
    `read_back` of them came back equal through the facade, `native` of them were found by the
    engine's own client, and `existing` were recognised when they were written a second time.
    """

    data_type: str
    engine: str
    written: int
    read_back: int
    existing: int
    native: int
    milliseconds: float

    @property
    def ok(self) -> bool:
        """Whether all of it was found everywhere."""
        return self.written > 0 and self.written == self.read_back == self.existing == self.native


@dataclass(frozen=True, slots=True)
class Demo:
    """One line per data type of the routing table."""

    lines: tuple[Line, ...]

    @property
    def ok(self) -> bool:
        """Whether every data type is proven."""
        return all(line.ok for line in self.lines)

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"ok": self.ok, "types": [asdict(line) for line in self.lines]}


async def run_demo(polystore: Polystore, scope: Scope) -> Demo:
    """Prove every data type of the routing table, those first that others refer to."""
    lines = [await _records(polystore, data_type, scope) for data_type in SAMPLED]
    lines += [await _cache(polystore), await _limits(polystore)]
    order = {route.data_type: place for place, route in enumerate(polystore.routing)}
    return Demo(tuple(sorted(lines, key=lambda line: order[line.data_type])))


async def _records(polystore: Polystore, data_type: str, scope: Scope) -> Line:
    port = polystore.records(data_type, scope)
    records = samples(data_type)
    started = time.perf_counter()
    first = await port.write(records)
    back = [await port.get(record.key) for record in records]
    second = await port.write(records)
    return Line(
        data_type=data_type,
        engine=polystore.routing[data_type].primary,
        written=first.new + first.existing + first.replaced,
        read_back=sum(map(_same, records, back)),
        existing=second.existing,
        native=await _witness(polystore, data_type, [record.key for record in records]),
        milliseconds=_since(started),
    )


def _same(given: Record, found: Record) -> bool:
    """Whether every field that was given came back; the store may fill in what was left out."""
    stored = found.model_dump()
    return all(
        stored[name] == value for name, value in given.model_dump().items() if value is not None
    )


async def _cache(polystore: Polystore) -> Line:
    """Values by key: set, read, set again; each key is there once."""
    run = uuid7().hex
    values = {f"compute:{run}-{n}:result": f"value {n}".encode() for n in range(CACHE_KEYS)}
    keys = list(values)
    started = time.perf_counter()
    for key, value in values.items():
        await polystore.cache.set(key, value, ttl=60)
    back = [await polystore.cache.get(key) == value for key, value in values.items()]
    native = await _witness(polystore, "cache", keys)
    for key, value in values.items():
        await polystore.cache.set(key, value, ttl=60)
    existing = await _witness(polystore, "cache", keys)
    await polystore.cache.invalidate(keys)
    return Line(
        data_type="cache",
        engine=polystore.routing["cache"].primary,
        written=len(keys),
        read_back=sum(back),
        existing=existing,
        native=native,
        milliseconds=_since(started),
    )


async def _limits(polystore: Polystore) -> Line:
    """One window of two units: both are admitted, the third is refused and counts nothing."""
    client = f"demo-{uuid7().hex}"
    started = time.perf_counter()
    first, second, third = [
        await polystore.limits.check(client, "demo", limit=2, window_seconds=60) for _ in range(3)
    ]
    return Line(
        data_type="limits",
        engine=polystore.routing["limits"].primary,
        written=int(first.allowed),
        read_back=int(first.remaining == 1 and second.remaining == 0),
        existing=int(second.allowed and not third.allowed),
        native=await _witness(polystore, "limits", [f"rate_limit:{client}:demo"]),
        milliseconds=_since(started),
    )


async def _witness(polystore: Polystore, data_type: str, keys: Sequence[str]) -> int:
    return await polystore.stores[polystore.routing[data_type].primary].witness(data_type, keys)


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
