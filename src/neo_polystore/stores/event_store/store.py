"""The event store's lifecycle: connect, health, migrate, and the events port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import asyncpg

from neo_polystore.activity import Activity
from neo_polystore.pgkit.backing import PgBacking
from neo_polystore.pgkit.database import Connection, Database, PgConfig
from neo_polystore.pgkit.health import probe, with_facts
from neo_polystore.pgkit.migrations import migrate
from neo_polystore.pgkit.on_demand import OnDemand
from neo_polystore.pgkit.quoting import identifier
from neo_polystore.pgkit.versioned import Versioned
from neo_polystore.ports.retention import Ages
from neo_polystore.ports.store import Health, MigrationReport, Store
from neo_polystore.stores.event_store.ages import EventAges
from neo_polystore.stores.event_store.events import EventStreams

STALL_SECONDS = 10.0
HOME = "primary"

HOME_SCHEMA = "eventsourcing"
_LAST = """
SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = 'events' AND n.nspname IN ('public', 'eventsourcing') AND c.relkind IN ('r', 'p')
"""

_HORIZON = """
SELECT horizon, pid, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds
FROM events_horizon() AS h (horizon)
LEFT JOIN (
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 30 = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY classid::bigint, objid::bigint LIMIT 1
) holder ON true
LEFT JOIN pg_stat_activity USING (pid)
"""


class EventStore(Versioned):
    """Database `event_store`, or the schema `eventsourcing` of the relational database."""

    name: ClassVar[str] = "event_store"
    environment: ClassVar[str] = "event_store"
    serves: ClassVar[frozenset[str]] = frozenset({"events"})
    features: ClassVar[frozenset[str]] = frozenset(
        {"transactions", "optimistic-concurrency", "global-order"}
    )

    def __init__(self, config: PgConfig):
        self.config = config
        self.database = Database(config, store=self.name)
        self._retention = OnDemand(
            config, PgConfig.as_retention, store=self.name, recorder=self.database.recorder
        )

    async def connect(self) -> None:
        """Open the pool."""
        await self.database.connect()

    async def close(self) -> None:
        """Close the pools."""
        await self._retention.close()
        await self.database.close()

    async def health(self) -> Health:
        """Version and latency, and where readers of all events stop.

        `degraded` names the process where an append has kept its transaction open for over ten
        seconds: nobody sees later events until it ends.
        """
        return await probe(self.database, _horizon)

    @property
    def backing(self) -> PgBacking:
        """How it is backed up: before the rows that its events refer to."""
        return PgBacking(
            self.config, store=self.name, phase="follows", home=HOME_SCHEMA, moment=_last
        )

    @property
    def activity(self) -> Activity:
        """What its one database was asked."""
        return self.database.activity

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Run the revisions of `migrations/event_store` as the owner.

        In the relational store's database first those of `migrations/primary`, which make the
        schema that this one lives in.
        """
        if self.config.namespace and not dry_run:
            home = self.config.model_copy(update={"namespace": None})
            await migrate(home, environment=HOME, store=self.name)
        return await migrate(
            self.config, environment=self.environment, store=self.name, dry_run=dry_run
        )

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these event ids a connection of its own finds."""
        if data_type not in self.serves:
            raise KeyError(data_type)
        async with self.database.translated("witness"):
            connection = await asyncpg.connect(**self.config.connect_arguments())
            try:
                sql = "SELECT count(*) FROM events WHERE event_id = ANY($1::text[]::uuid[])"
                return int(await connection.fetchval(sql, list(keys)))
            finally:
                await connection.close()

    def port(self, data_type: str) -> Any:
        """The events port."""
        return {"events": EventStreams}[data_type](self.database)

    def ages(self, data_type: str) -> Ages | None:
        """The retention of `events`."""
        return EventAges(self.database, self._retention)


async def _last(connection: Connection) -> dict[str, Any]:
    """The last event of the moment."""
    schema = await connection.fetchval(_LAST)
    if schema is None:
        return {}
    position = await connection.fetchval(f"SELECT max(position) FROM {identifier(schema)}.events")
    return {"event_position": position or 0}


async def _horizon(connection: Connection, health: Health) -> Health:
    if await connection.fetchval("SELECT to_regclass('aggregates')") is None:
        return with_facts(health, "no schema yet: run `neo-polystore db migrate`")
    [(horizon, pid, seconds)] = await connection.fetch(_HORIZON)
    if seconds is not None and seconds > STALL_SECONDS:
        detail = (
            f"readers of all events wait at {horizon} for process {pid}, {seconds:.0f} s so far"
        )
        health = replace(with_facts(health, detail), status="degraded")
    return with_facts(health, "", horizon=horizon, horizon_pid=pid, horizon_seconds=seconds)


_: type[Store] = EventStore
