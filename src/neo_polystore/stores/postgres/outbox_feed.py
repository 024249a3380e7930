"""Reading the outbox for delivery, as the relay's role; see `outbox` for why nothing is skipped."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.ports.outbox import Claim, Feed, Message, Refused
from neo_polystore.records.scope import Scope

# Hops from topic to topic along the primary key: a plain DISTINCT would read every message.
NAMES = """
WITH RECURSIVE names AS (
    (SELECT topic FROM outbox.messages ORDER BY topic LIMIT 1)
    UNION ALL
    SELECT (SELECT m.topic FROM outbox.messages m WHERE m.topic > n.topic
            ORDER BY m.topic LIMIT 1)
    FROM names n WHERE n.topic IS NOT NULL
)
"""

TOPICS = f"""{NAMES}
SELECT n.topic FROM names n LEFT JOIN outbox.checkpoints c USING (topic)
WHERE n.topic IS NOT NULL
    AND (c.lease_until IS NULL OR c.lease_until <= clock_timestamp())
    AND EXISTS (SELECT FROM outbox.messages m
        WHERE m.topic = n.topic AND m.id > coalesce(c.position, 0) AND m.id <= $1)
"""

CLAIM = """
INSERT INTO outbox.checkpoints AS c (topic, token, holder, lease_until)
VALUES ($1, 1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (topic) DO UPDATE
SET token = c.token + 1, holder = excluded.holder, lease_until = excluded.lease_until,
    updated_at = clock_timestamp()
WHERE c.lease_until IS NULL OR c.lease_until <= clock_timestamp()
RETURNING token, position
"""

RENEW = """
UPDATE outbox.checkpoints
SET lease_until = clock_timestamp() + make_interval(secs => $3), updated_at = clock_timestamp()
WHERE topic = $1 AND token = $2 AND lease_until IS NOT NULL
"""

RELEASE = """
UPDATE outbox.checkpoints
SET lease_until = NULL, holder = NULL, updated_at = clock_timestamp()
WHERE topic = $1 AND token = $2
"""

READ = """
SELECT id, topic, key, payload, idempotency_key, tenant_id, service, created_at
FROM (
    SELECT m.*, sum(m.bytes) OVER (ORDER BY m.id) - m.bytes AS before
    FROM outbox.messages m
    WHERE m.topic = $1 AND m.id > $2 AND m.id <= $3 ORDER BY m.id LIMIT $4
) AS m
WHERE before = 0 OR before + bytes <= $5 ORDER BY id
"""

ADVANCE = """
UPDATE outbox.checkpoints
SET position = greatest(position, $3), delivered = delivered + $4, dead = dead + $5,
    lease_until = clock_timestamp() + make_interval(secs => $6), updated_at = clock_timestamp()
WHERE topic = $1 AND token = $2 AND lease_until IS NOT NULL
"""

BURY = """
INSERT INTO outbox.dead_letters (message_id, topic, key, tenant_id, service, payload,
    idempotency_key, published_at, reason, attempts, first_failed, last_failed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, coalesce($11, clock_timestamp()),
    clock_timestamp())
ON CONFLICT (message_id) DO NOTHING
"""


class PgFeed:
    """The relay's side of the outbox; see `ports.outbox`. `database` acts as the relay's role."""

    def __init__(self, database: Database):
        self._database = database

    async def topics(self) -> list[str]:
        """Asks the primary key and the checkpoints only."""
        async with self._database.acquire("outbox.topics") as connection:
            rows = await connection.fetch(TOPICS, await horizon(connection))
        return [row["topic"] for row in rows]

    async def claim(self, topic: str, *, holder: str, seconds: float) -> Claim | None:
        """By the server's clock."""
        async with self._database.acquire("outbox.claim") as connection:
            row = await connection.fetchrow(CLAIM, topic, holder, seconds)
        return Claim(topic, holder, row["token"], seconds, row["position"]) if row else None

    async def renew(self, claim: Claim) -> bool:
        """Fenced by the token."""
        async with self._database.acquire("outbox.renew") as connection:
            return _changed(
                await connection.execute(RENEW, claim.topic, claim.token, claim.seconds)
            )

    async def release(self, claim: Claim) -> None:
        """Fenced by the token."""
        async with self._database.acquire("outbox.release") as connection:
            await connection.execute(RELEASE, claim.topic, claim.token)

    async def read(self, topic: str, *, after: int, limit: int, limit_bytes: int) -> list[Message]:
        """Two statements, because the messages need a newer snapshot than the horizon."""
        async with self._database.acquire("outbox.read") as connection:
            limit_id = await horizon(connection)
            if limit_id <= after:
                return []
            rows = await connection.fetch(READ, topic, after, limit_id, limit, limit_bytes)
        return [message(row, id=row["id"], created_at=row["created_at"]) for row in rows]

    async def advance(
        self, claim: Claim, *, position: int, delivered: int, dead: Sequence[Refused] = ()
    ) -> bool:
        """The dead letters stand, or the position does not."""
        arguments = (claim.topic, claim.token, position, delivered, len(dead), claim.seconds)
        async with self._database.acquire("outbox.advance") as connection:
            if not dead:
                return _changed(await connection.execute(ADVANCE, *arguments))
            async with connection.transaction():
                if not _changed(await connection.execute(ADVANCE, *arguments)):
                    return False
                await connection.executemany(BURY, [_grave(refused) for refused in dead])
        return True


async def horizon(connection: Connection) -> int:
    """The id up to which nothing can appear any more, for statements that follow this one."""
    return int(await connection.fetchval("SELECT outbox.horizon()"))


def message(row: asyncpg.Record, *, id: int, created_at: datetime) -> Message:  # noqa: A002
    """The message in a row of messages or dead letters."""
    return Message(
        id=id,
        topic=row["topic"],
        key=row["key"],
        payload=row["payload"],
        idempotency_key=row["idempotency_key"],
        scope=Scope(tenant=row["tenant_id"], service=row["service"]),
        created_at=created_at,
    )


def _grave(refused: Refused) -> tuple[Any, ...]:
    found = refused.message
    return (
        found.id,
        found.topic,
        found.key,
        found.scope.tenant,
        found.scope.service,
        found.payload,
        found.idempotency_key,
        found.created_at,
        refused.reason,
        refused.attempts,
        refused.first_failed,
    )


def _changed(status: str) -> bool:
    return not status.endswith(" 0")


_: type[Feed] = PgFeed
