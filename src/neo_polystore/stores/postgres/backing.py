"""What a backup of the relational store remembers beside its rows: how far the outbox was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from neo_polystore.pgkit.backing import PgBacking
from neo_polystore.pgkit.backup import connected
from neo_polystore.pgkit.database import Connection, PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.ports.backup import Saved

BEFORE = "outbox_before"

_REWIND = """
UPDATE outbox.checkpoints SET holder = NULL, lease_until = NULL,
    position = least(position, coalesce(($1::jsonb ->> topic)::bigint, 0))
"""


def backing(config: PgConfig, store: str) -> PgBacking:
    """The relational store, which the others refer to."""
    return PgBacking(config, store=store, phase="leads", before=_outbox_before, loaded=_rewind)


@asynccontextmanager
async def _outbox_before(config: PgConfig) -> AsyncIterator[Mapping[str, Any]]:
    """How far each topic was delivered, before any store that it is delivered to is read.

    What is delivered from now on may be missing in the backups of those stores, so its messages
    must be in ours: the lock keeps their partitions from being dropped.
    """
    async with translated("postgres", "backup"):
        manager = connected(config)
        connection = await manager.__aenter__()
    try:
        async with translated("postgres", "backup"):
            positions = await _positions(connection)
        yield {BEFORE: positions}
    finally:
        await manager.__aexit__(None, None, None)


async def _positions(connection: Connection) -> dict[str, int]:
    if await connection.fetchval("SELECT to_regclass('outbox.checkpoints') IS NULL"):
        return {}
    await connection.execute("BEGIN; LOCK TABLE outbox.messages IN ACCESS SHARE MODE")
    rows = await connection.fetch("SELECT topic, position FROM outbox.checkpoints")
    return {row["topic"]: row["position"] for row in rows}


async def _rewind(connection: Connection, saved: Saved) -> None:
    """Have everything delivered again that other stores may lack; sinks recognise the rest."""
    positions = saved.before.get(BEFORE)
    if positions is None or await connection.fetchval(
        "SELECT to_regclass('outbox.checkpoints') IS NULL"
    ):
        return
    await connection.execute(_REWIND, orjson.dumps(positions).decode())
