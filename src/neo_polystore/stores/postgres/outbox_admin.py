"""What an operator does with the outbox: how it stands, dead letters, replays."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from neo_polystore.errors import FieldProblem, ValidationError
from neo_polystore.pgkit.database import Connection, Database, apply_scope
from neo_polystore.ports.outbox import DeadLetter, Draft, OutboxAdmin, OutboxStatus, TopicStatus
from neo_polystore.stores.postgres.outbox import Prepared, publish
from neo_polystore.stores.postgres.outbox_feed import NAMES, horizon, message

STATUS = f"""{NAMES}, every AS (
    SELECT topic FROM names WHERE topic IS NOT NULL UNION SELECT topic FROM outbox.checkpoints
)
SELECT e.topic, coalesce(c.position, 0) AS position, w.depth,
    coalesce(extract(epoch FROM clock_timestamp() - w.oldest), 0)::float8 AS lag,
    coalesce(c.delivered, 0) AS delivered,
    (SELECT count(*) FROM outbox.dead_letters d
     WHERE d.topic = e.topic AND d.replayed_at IS NULL AND d.discarded_at IS NULL) AS dead,
    CASE WHEN c.lease_until > clock_timestamp() THEN c.holder END AS holder
FROM every e LEFT JOIN outbox.checkpoints c USING (topic), LATERAL (
    SELECT count(*) AS depth, min(m.created_at) AS oldest FROM outbox.messages m
    WHERE m.topic = e.topic AND m.id > coalesce(c.position, 0)
) AS w
ORDER BY e.topic
"""

# of those who hold the horizon back, the one that stands lowest
_PUBLISHING = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 29 = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY classid::bigint << 32 | objid::bigint LIMIT 1
"""


DEAD_LETTERS = """
SELECT * FROM outbox.dead_letters
WHERE ($1::text IS NULL OR topic = $1)
    AND ($2 OR replayed_at IS NULL AND discarded_at IS NULL)
    AND ($3::bigint[] IS NULL OR id = ANY ($3)) AND id > $4
ORDER BY id LIMIT $5
"""

REPLAYABLE = """
SELECT * FROM outbox.dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL
    AND ($1::bigint[] IS NULL OR id = ANY ($1)) AND id > $2
ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED
"""

REPLAYED = """
UPDATE outbox.dead_letters SET replayed_at = clock_timestamp(), replayed_as = $2 WHERE id = $1
"""

DISCARD = """
UPDATE outbox.dead_letters SET discarded_at = clock_timestamp(), discard_reason = $2
WHERE id = ANY ($1::bigint[]) AND replayed_at IS NULL AND discarded_at IS NULL
"""


class PgOutboxAdmin:
    """Acts as the relay's role, which sees every tenant."""

    def __init__(self, database: Database):
        self._database = database

    async def status(self) -> OutboxStatus:
        """Counts what waits one by one."""
        async with self._database.acquire("outbox.status") as connection:
            limit_id = await horizon(connection)
            drawn = await connection.fetchval(
                "SELECT coalesce(pg_sequence_last_value('outbox.messages_id_seq'), 0)"
            )
            held_by = await connection.fetchval(_PUBLISHING)
            rows = await connection.fetch(STATUS)
        topics = tuple(TopicStatus(**dict(row)) for row in rows)
        return OutboxStatus(limit_id, drawn - limit_id, held_by, topics)

    async def dead_letters(
        self,
        *,
        topic: str | None = None,
        ids: Sequence[int] | None = None,
        settled: bool = False,
        after: int = 0,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """One statement."""
        chosen = None if ids is None else list(ids)
        async with self._database.acquire("outbox.dead_letters") as connection:
            rows = await connection.fetch(DEAD_LETTERS, topic, settled, chosen, after, limit)
        return [_dead_letter(row) for row in rows]

    async def replay(self, ids: Sequence[int] | None = None) -> int:
        """In transactions of 500; what another replay is at is left to it."""
        chosen = None if ids is None else list(ids)
        done, last = 0, 0
        while True:
            async with self._database.transaction("outbox.replay") as connection:
                rows = await connection.fetch(REPLAYABLE, chosen, last)
                for row in rows:
                    await _replay(connection, _dead_letter(row))
            if not rows:
                return done
            done += len(rows)
            last = rows[-1]["id"]

    async def discard(self, ids: Sequence[int], *, reason: str) -> int:
        """One statement; ValidationError for a reason that is empty."""
        if not reason.strip():
            raise ValidationError([FieldProblem("reason", "is empty")], operation="outbox.discard")
        async with self._database.acquire("outbox.discard") as connection:
            status = await connection.execute(DISCARD, list(ids), reason)
        return int(status.rpartition(" ")[2])


async def _replay(connection: Connection, letter: DeadLetter) -> None:
    found = letter.message
    await connection.execute(
        "SELECT set_config('app.current_tenant', '', true),"
        " set_config('app.current_service', '', true)"
    )
    await apply_scope(connection, found.scope)
    draft = Draft(found.topic, found.key, found.payload, found.idempotency_key)
    [replayed_as] = await publish(connection, [Prepared(draft)])
    await connection.execute(REPLAYED, letter.id, replayed_as)


def _dead_letter(row: asyncpg.Record) -> DeadLetter:
    return DeadLetter(
        id=row["id"],
        message=message(row, id=row["message_id"], created_at=row["published_at"]),
        reason=row["reason"],
        attempts=row["attempts"],
        first_failed=row["first_failed"],
        last_failed=row["last_failed"],
        replayed_at=row["replayed_at"],
        replayed_as=row["replayed_as"],
        discarded_at=row["discarded_at"],
        discard_reason=row["discard_reason"],
    )


_: type[OutboxAdmin] = PgOutboxAdmin
