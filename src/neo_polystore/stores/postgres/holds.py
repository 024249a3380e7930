"""Legal holds in `retention.holds`, and the locks that order them with deletions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import Any, Final

import asyncpg

from neo_polystore.errors import NotFoundError, PolystoreError, UnavailableError
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.ports.holds import Hold, HoldDraft, Holds, Standing

_COLUMNS: Final = (
    "id, data_types, tenant, key, conditions, since, until, words, reason, added_by, added_at,"
    " in_force_at, released_by, released_at, release_reason"
)

_KEY: Final = "hashtext('retention.holds'), hashtext($1)"
_ALONE: Final = f"SELECT pg_advisory_xact_lock({_KEY})"
_SHARED: Final = f"SELECT pg_advisory_xact_lock_shared({_KEY})"

_ADD: Final = f"""
INSERT INTO retention.holds
    (data_types, tenant, key, conditions, since, until, words, reason, added_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {_COLUMNS}
"""

_UNDER_WAY: Final = """
SELECT max(deadline) - clock_timestamp() FROM retention.deletions
WHERE data_type = ANY($1) AND deadline > clock_timestamp()
"""

_SETTLED: Final = f"""
UPDATE retention.holds SET in_force_at = coalesce(in_force_at, clock_timestamp())
WHERE id = $1 AND released_at IS NULL RETURNING {_COLUMNS}
"""

_RELEASE: Final = f"""
UPDATE retention.holds
SET released_at = clock_timestamp(), released_by = $2, release_reason = $3
WHERE id = $1 AND released_at IS NULL RETURNING {_COLUMNS}
"""

_STANDING: Final = f"""
SELECT {_COLUMNS}, max(id) OVER () AS generation FROM retention.holds
WHERE $1 = ANY(data_types) ORDER BY id
"""

_BEGIN: Final = """
WITH forgotten AS (
    DELETE FROM retention.deletions WHERE deadline < clock_timestamp() - INTERVAL '1 day'
)
INSERT INTO retention.deletions (data_type, holder, deadline)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3)) RETURNING id, deadline
"""

_POLL: Final = 0.05
_WAIT: Final = 120.0
"""Seconds that a deletion waits for a hold that is being added."""


class PgHolds:
    """See `ports.holds`; as the role of background work."""

    def __init__(self, database: Database):
        self._database = database

    async def add(self, draft: HoldDraft, *, patience: float = 60.0) -> Hold:
        """Alone with the data types: who deletes holds their locks shared, and reads after."""
        until = monotonic() + patience
        try:
            async with self._database.transaction("holds.add") as connection:
                await connection.execute(
                    "SELECT set_config('lock_timeout', $1, true)", str(int(patience * 1000))
                )
                for name in sorted(set(draft.data_types)):
                    await connection.execute(_ALONE, name, timeout=patience + 5)
                await self._until_nothing_is_under_way(connection, draft, until)
                row = await connection.fetchrow(_ADD, *_values(draft))
        except PolystoreError as error:
            if not isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                raise
            raise UnavailableError(
                f"a deletion has been under way for {patience:g} s: nothing is held yet, try again",
                store=self._database.store,
                operation="holds.add",
            ) from error
        return _hold(row)

    async def _until_nothing_is_under_way(
        self, connection: Connection, draft: HoldDraft, until: float
    ) -> None:
        """Wait for what dead processes have asked of other stores: the living hold the lock."""
        while await connection.fetchval(_UNDER_WAY, list(draft.data_types)) is not None:
            if monotonic() > until:
                raise UnavailableError(
                    "a deletion that a dead process began may still be under way:"
                    " nothing is held yet, try again",
                    store=self._database.store,
                    operation="holds.add",
                )
            await asyncio.sleep(_POLL)

    async def settled(self, hold: int) -> Hold:
        """Record that the hold is in force."""
        return await self._change("holds.settled", _SETTLED, hold)

    async def release(self, hold: int, *, by: str, reason: str) -> Hold:
        """Release a hold; it stays on record."""
        return await self._change("holds.release", _RELEASE, hold, by, reason)

    async def _change(self, operation: str, sql: str, hold: int, *more: Any) -> Hold:
        async with self._database.acquire(operation) as connection:
            row = await connection.fetchrow(sql, hold, *more)
        if row is None:
            raise NotFoundError(
                f"no hold {hold}, or it is released already", store=self._database.store
            )
        return _hold(row)

    async def find(self, *, released: bool = False) -> Sequence[Hold]:
        """Holds, the newest first."""
        open_ones = "" if released else "WHERE released_at IS NULL"
        async with self._database.acquire("holds.find") as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM retention.holds {open_ones} ORDER BY id DESC"
            )
        return [_hold(row) for row in rows]

    async def standing(self, data_type: str) -> Standing:
        """What is held of a data type now."""
        async with self._database.acquire("holds.standing") as connection:
            return _standing(await connection.fetch(_STANDING, data_type))

    @asynccontextmanager
    async def deleting(
        self, data_type: str, *, holder: str, seconds: float
    ) -> AsyncIterator[Standing]:
        """On record by another transaction, so that it outlives this process.

        The record is made under the lock: one that is there without a lock was left by a crash.
        """
        async with self._database.transaction("holds.deleting") as connection:
            await connection.execute(_SHARED, data_type, timeout=_WAIT)
            standing = _standing(await connection.fetch(_STANDING, data_type))
            async with self._database.acquire("holds.began") as other:
                [row] = await other.fetch(_BEGIN, data_type, holder, seconds)
            yield replace(standing, deadline=row["deadline"])
            await connection.execute("DELETE FROM retention.deletions WHERE id = $1", row["id"])


def _values(draft: HoldDraft) -> tuple[Any, ...]:
    return (
        sorted(set(draft.data_types)),
        draft.tenant,
        draft.key,
        list(draft.conditions),
        draft.since,
        draft.until,
        draft.words,
        draft.reason,
        draft.added_by,
    )


def _standing(rows: Sequence[asyncpg.Record]) -> Standing:
    open_ones = tuple(_hold(row) for row in rows if row["released_at"] is None)
    return Standing(rows[0]["generation"] if rows else 0, open_ones)


def _hold(row: Any) -> Hold:
    values = {name: row[name] for name in Hold.__dataclass_fields__}
    for name in ("data_types", "conditions"):
        values[name] = tuple(values[name])
    return Hold(**values)


_: type[Holds] = PgHolds
