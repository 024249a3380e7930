"""The audit trail's chains in PostgreSQL; `audit.link` is the only way to write them (0020)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from neo_polystore.pgkit.database import Database
from neo_polystore.ports.audit import Chains, Head, Link, Sealed
from neo_polystore.records.scope import Scope

_LINK = "SELECT audit.link($1, $2, $3, $4)"

_HEADS = """
SELECT day, seq, hash FROM audit.chain_heads
WHERE tenant_id = $1
    AND day BETWEEN coalesce($2::date, '-infinity') AND coalesce($3::date, 'infinity')
ORDER BY day
"""

_LINKS = """
SELECT seq, entry_id AS entry, digest, hash FROM audit.chain_links
WHERE tenant_id = $1 AND day = $2 AND seq > $3 ORDER BY seq LIMIT $4
"""

_DIGESTS = """
SELECT entry_id, digest FROM audit.chain_links
WHERE tenant_id = $1 AND day = $2 AND entry_id = ANY ($3)
"""


class PgChains:
    """See `ports.audit`. Reads as the tenant whose chain it is."""

    def __init__(self, database: Database):
        self._database = database

    async def link(self, entries: Sequence[Sealed]) -> int:
        """One statement; all of it or nothing."""
        if not entries:
            return 0
        columns = (
            [entry.tenant for entry in entries],
            [entry.day for entry in entries],
            [entry.entry for entry in entries],
            [entry.digest for entry in entries],
        )

        async def attempt() -> int:
            async with self._database.acquire("audit.link") as connection:
                return int(await connection.fetchval(_LINK, *columns))

        return await self._database.retrying(attempt)

    async def heads(
        self, tenant: UUID, *, first: date | None = None, last: date | None = None
    ) -> list[Head]:
        """One statement."""
        async with self._database.reading("audit.heads", Scope(tenant)) as connection:
            rows = await connection.fetch(_HEADS, tenant, first, last)
        return [Head(**dict(row)) for row in rows]

    async def links(self, tenant: UUID, day: date, *, after: int = 0, limit: int) -> list[Link]:
        """One statement."""
        async with self._database.reading("audit.links", Scope(tenant)) as connection:
            rows = await connection.fetch(_LINKS, tenant, day, after, limit)
        return [Link(**dict(row)) for row in rows]

    async def digests(self, tenant: UUID, day: date, entries: Sequence[str]) -> dict[str, bytes]:
        """One statement."""
        async with self._database.reading("audit.digests", Scope(tenant)) as connection:
            rows = await connection.fetch(_DIGESTS, tenant, day, list(entries))
        return {row["entry_id"]: row["digest"] for row in rows}


_: type[Chains] = PgChains
