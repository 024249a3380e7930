"""One facade's metrics on one page, in the formats that scrapers ask for."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from neo_polystore import __version__
from neo_polystore.backup.runs import Newest
from neo_polystore.errors import UnsupportedError
from neo_polystore.ops.background import BackgroundWork, operational
from neo_polystore.ops.health import probe
from neo_polystore.ops.telemetry import families as f
from neo_polystore.ops.telemetry.background import put_backups, put_jobs, put_outbox, put_work
from neo_polystore.ops.telemetry.families import Page
from neo_polystore.ops.telemetry.http import HttpCounts
from neo_polystore.ops.telemetry.sampling import Sampled
from neo_polystore.ops.telemetry.stores import put_activity, put_port
from neo_polystore.polystore import Polystore
from neo_polystore.ports.outbox import OutboxStatus
from neo_polystore.ports.scheduling import JobStatus
from neo_polystore.ports.store import Health

T = TypeVar("T")

FRESH = 5.0
"""Seconds for which what a database was asked stands, however many scrape."""

PATIENCE = 2.0
"""Seconds that a page waits for databases; Prometheus itself gives up after ten."""

KEEP = 60.0
"""Seconds for which the outbox's and the scheduler's figures stand while they cannot be read."""

BACKUPS_FRESH, BACKUPS_KEEP = 300.0, 86_400.0
"""The same for the age of backups, which is asked of their target, manifest by manifest."""


class Telemetry(Collector):
    """Metrics of one facade, in a registry of its own; any number may be in one process.

    What engines counted is read when the page is made. Before that stores are probed, and the
    outbox and the scheduler's books read, side by side; a store that is away makes its own
    `neo_store_up` 0 and nothing else. `work` and `http` are what this process does beside,
    `backups` tells how old the backups are.
    Belongs to the facade's event loop.
    """

    def __init__(
        self,
        polystore: Polystore,
        *,
        http: HttpCounts | None = None,
        work: BackgroundWork | None = None,
        backups: Callable[[], Awaitable[Mapping[str, Newest]]] | None = None,
        fresh: float = FRESH,
        patience: float = PATIENCE,
    ):
        def sampled(ask: Callable[[], Awaitable[T]], *, keep: float = KEEP) -> Sampled[T]:
            return Sampled(ask, fresh=fresh, patience=patience, keep=keep)

        self._backups: Sampled[Mapping[str, Newest]] | None = None
        if backups is not None:
            self._backups = Sampled(
                backups, fresh=BACKUPS_FRESH, patience=patience, keep=BACKUPS_KEEP
            )

        self._polystore = polystore
        self._http = http
        self._work = work
        self._health: dict[str, Sampled[Health]] = {
            name: sampled(partial(probe, store), keep=0)
            for name, store in sorted(polystore.stores.items())
        }
        self._outbox: Sampled[OutboxStatus] | None = None
        self._jobs: Sampled[Sequence[JobStatus]] | None = None
        with suppress(UnsupportedError):  # not every process has that store open
            store = operational(polystore)
            self._outbox = sampled(store.outbox_admin.status)
            self._jobs = sampled(store.ledger.status)
        self._registry = CollectorRegistry(auto_describe=False)
        for part in (ProcessCollector, PlatformCollector, GCCollector):
            part(registry=self._registry)
        self._registry.register(self)

    async def page(self, accept: str = "") -> tuple[bytes, str]:
        """The page and its content type: OpenMetrics where `accept` asks for it, else text."""
        await asyncio.gather(*(sample.refresh() for sample in self._samples()))
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    async def close(self) -> None:
        """End the questions that are under way."""
        await asyncio.gather(*(sample.close() for sample in self._samples()))

    def collect(self) -> Iterable[Metric]:
        """The families, as things stand."""
        page = Page()
        profile = self._polystore.routing.profile
        page.add(f.BUILD, 1, __version__, profile, platform.python_version())
        for name, sample in self._health.items():
            _put_health(page, name, sample.answer)
        for name, store in sorted(self._polystore.stores.items()):
            put_activity(page, name, store.activity)
        for data_type, port in self._polystore.ports.items():
            put_port(page, data_type, port)
        if self._outbox is not None:
            put_outbox(page, self._outbox)
        if self._jobs is not None:
            put_jobs(page, self._jobs)
        if self._backups is not None:
            put_backups(page, self._backups)
        if self._work is not None:
            put_work(page, self._work)
        if self._http is not None:
            self._http.put(page)
        return page.families()

    def _samples(self) -> Iterable[Sampled[Any]]:
        others = (self._outbox, self._jobs, self._backups)
        return [*self._health.values(), *(sample for sample in others if sample is not None)]


def _put_health(page: Page, name: str, health: Health | None) -> None:
    if health is not None and health.status == "disabled":
        return
    up = health is not None and health.status != "unhealthy"
    page.add(f.STORE_UP, up, name)
    if health is not None and up:
        page.add(f.STORE_DEGRADED, health.status == "degraded", name)
        if health.milliseconds is not None:
            page.add(f.STORE_PROBE, health.milliseconds / 1000, name)
        if archiver := health.facts.get("archiver"):
            _put_archiver(page, name, archiver)


def _put_archiver(page: Page, name: str, facts: Mapping[str, Any]) -> None:
    page.add(f.WAL_ARCHIVED, facts["archived"], name)
    page.add(f.WAL_FAILURES, facts["failed"], name)
    page.add(f.WAL_FAILING, facts["failing"], name)
    page.add(f.WAL_AGE, facts["age_seconds"], name)
    page.add(f.WAL_PENDING, facts["pending"], name)
