"""Health of every open store, and whether the platform is ready to serve."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from typing import Any

from neo_polystore.errors import PolystoreError
from neo_polystore.polystore import Polystore
from neo_polystore.ports.store import Health, Store

PROBE_TIMEOUT = 5.0
SLOW_MILLISECONDS = 1000.0
"""A store that takes longer to answer is degraded."""


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """One store's health and what it is there for. A store is primary for some data types."""

    store: str
    primary_for: tuple[str, ...]
    health: Health

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"store": self.store, "primary_for": self.primary_for, **asdict(self.health)}


@dataclass(frozen=True, slots=True)
class PlatformHealth:
    """All stores. `status` is the worst that matters: a cache that is down only degrades."""

    stores: tuple[StoreHealth, ...]

    @property
    def status(self) -> str:
        """`unhealthy` where a primary is, `degraded` where anything else is amiss."""
        if any(s.health.status == "unhealthy" and s.primary_for for s in self.stores):
            return "unhealthy"
        if any(s.health.status not in ("healthy", "disabled") for s in self.stores):
            return "degraded"
        return "healthy"

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"status": self.status, "stores": [store.as_dict() for store in self.stores]}


async def check_health(polystore: Polystore) -> PlatformHealth:
    """Probe all stores side by side; one that was unreachable is connected again if it is back."""
    names = sorted(polystore.stores)
    answers = await asyncio.gather(*(probe(polystore.stores[name]) for name in names))
    return PlatformHealth(
        tuple(
            StoreHealth(name, _primary_for(polystore, name), answer)
            for name, answer in zip(names, answers, strict=True)
        )
    )


async def check_store(polystore: Polystore, name: str) -> StoreHealth:
    """Probe one open store; KeyError for a name that is none."""
    return StoreHealth(name, _primary_for(polystore, name), await probe(polystore.stores[name]))


async def probe(store: Store) -> Health:
    """One store's health within `PROBE_TIMEOUT` seconds; slow answers are judged here, for all."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await store.connect()
            return _judged(await store.health())
    except TimeoutError:
        return Health("unhealthy", detail=f"no answer within {PROBE_TIMEOUT:g} s")
    except PolystoreError as error:
        return Health("unhealthy", detail=str(error))


def _judged(health: Health) -> Health:
    if health.status != "healthy" or (health.milliseconds or 0) <= SLOW_MILLISECONDS:
        return health
    slow = f"answered after {health.milliseconds:.0f} ms"
    detail = f"{health.detail}; {slow}" if health.detail else slow
    return replace(health, status="degraded", detail=detail)


def _primary_for(polystore: Polystore, name: str) -> tuple[str, ...]:
    """Data types whose records live in this store (a cache holds none)."""
    return tuple(
        route.data_type
        for route in polystore.routing
        if route.primary == name and route.data_type not in ("cache", "limits")
    )
