"""What a serving process does beside answering: relay and scheduler, from start to shutdown."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from neo_polystore.errors import UnsupportedError
from neo_polystore.ops.backup_jobs import backup_jobs
from neo_polystore.ops.job_rules import ruled
from neo_polystore.ops.jobs import audit_jobs, metric_jobs, platform_jobs, retention_jobs
from neo_polystore.ops.pitr_jobs import pitr_jobs
from neo_polystore.ops.relay import Relay
from neo_polystore.ops.scheduler import Job, Scheduler
from neo_polystore.ops.sinks import record_sinks
from neo_polystore.polystore import Polystore
from neo_polystore.ports.metric_upkeep import MetricUpkeep, Rollups
from neo_polystore.ports.relational import Operational
from neo_polystore.retention.holding import Holding
from neo_polystore.retention.service import Retention
from neo_polystore.settings import Settings


@dataclass(frozen=True, slots=True)
class BackgroundWork:
    """What is running, for metrics and health."""

    relay: Relay
    scheduler: Scheduler


def process_name() -> str:
    """How this process signs its leases."""
    return f"{socket.gethostname()}:{os.getpid()}"


def operational(polystore: Polystore) -> Operational:
    """The open store that holds outbox and scheduler; UnsupportedError where none is open."""
    for store in polystore.stores.values():
        if "outbox" in store.features:
            return cast(Operational, store)
    raise UnsupportedError("no store with an outbox is open")


def retention_of(polystore: Polystore) -> Retention:
    """Retention of what is open; UnsupportedError where the store of holds is not."""
    return Retention(polystore, operational(polystore).holds, holder=process_name())


def holding_of(polystore: Polystore) -> Holding:
    """The holds on what is open; UnsupportedError where their store is not."""
    return Holding(polystore, operational(polystore).holds, retention_of(polystore))


def metric_upkeeps(polystore: Polystore) -> list[MetricUpkeep]:
    """The upkeep of the open store that has rollups, if one is open."""
    return [
        cast(Rollups, store).metric_upkeep
        for store in polystore.stores.values()
        if "rollups" in store.features
    ]


async def retention_notes(polystore: Polystore) -> list[str]:
    """What the next retention run drops of the metrics, and which setting keeps it."""
    notes = []
    for upkeep in metric_upkeeps(polystore):
        raw = next(level for level in (await upkeep.status()).levels if level.level == "raw")
        if raw.past:
            notes.append(
                f"{raw.past:,} points are older than {raw.keep}: the next retention run drops"
                f" them; {raw.setting}=indefinite (or a longer time) keeps them"
            )
    return notes


def jobs_of(
    polystore: Polystore, store: Operational, settings: Settings | None = None
) -> list[Job]:
    """What is to be done regularly for the stores that are open, when `settings` say so."""
    jobs = platform_jobs(store.upkeep)
    if settings is not None and settings.neo_backup_target:
        jobs += backup_jobs(polystore.stores, polystore.routing, settings) + pitr_jobs(settings)
    for upkeep in metric_upkeeps(polystore):
        jobs += metric_jobs(upkeep, store.holds)
    if polystore.has_audit:
        jobs += retention_jobs(retention_of(polystore)) + audit_jobs(polystore.audit)
    return jobs if settings is None else ruled(jobs, settings.neo_jobs)


@asynccontextmanager
async def background_work(
    polystore: Polystore, settings: Settings | None = None
) -> AsyncIterator[BackgroundWork]:
    """Deliver messages and run jobs while the block lasts; ends what is under way, then returns.

    Any number of processes may do so: each topic and each job has one holder at a time. The
    facade must have the relational store open; it need not be reachable.
    """
    store = operational(polystore)
    work = BackgroundWork(
        Relay(store.feed, record_sinks(polystore), holder=process_name()),
        Scheduler(store.ledger, jobs_of(polystore, store, settings), holder=process_name()),
    )
    stop = asyncio.Event()
    running = [
        asyncio.create_task(part.run_forever(stop), name=type(part).__name__.lower())
        for part in (work.relay, work.scheduler)
    ]
    try:
        yield work
    finally:
        stop.set()
        await asyncio.gather(*running)
