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
from neo_polystore.ops.jobs import platform_jobs
from neo_polystore.ops.relay import Relay
from neo_polystore.ops.scheduler import Scheduler
from neo_polystore.ops.sinks import record_sinks
from neo_polystore.polystore import Polystore
from neo_polystore.ports.relational import Operational


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


@asynccontextmanager
async def background_work(polystore: Polystore) -> AsyncIterator[BackgroundWork]:
    """Deliver messages and run jobs while the block lasts; ends what is under way, then returns.

    Any number of processes may do so: each topic and each job has one holder at a time. The
    facade must have the relational store open; it need not be reachable.
    """
    store = operational(polystore)
    work = BackgroundWork(
        Relay(store.feed, record_sinks(polystore), holder=process_name()),
        Scheduler(store.ledger, platform_jobs(store.upkeep), holder=process_name()),
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
