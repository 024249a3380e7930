"""Publishing to the outbox, in the transaction that the messages tell of.

Why a reader that goes by id neither skips a message nor sees a key out of order, while writers
wait for nobody but writers of the same key. All of it stands in the database, in
`outbox.publish` and `outbox.horizon` (migrations/primary, 0006), and holds for every writer:

1. *Order.* `publish` first takes an exclusive advisory lock for each key, which ends with the
   transaction, and draws the ids afterwards. So of two transactions that publish under one key,
   the later draws its ids when the earlier has ended: ids of a key rise in the order of commits,
   and a snapshot that shows one message shows all earlier ones of its key.
2. *No skips.* Ids of different keys do become visible out of order: 7 may be committed while 6 is
   still open. A reader must stop before the smallest id that may still appear. `publish`, before
   it draws, takes a shared advisory lock whose number is the last id drawn so far; every id that
   it draws is greater. `horizon` reads first the last id drawn, D, then the smallest number so
   locked, M. The reader then reads, *with a newer snapshot*, up to min(D, M). An id up to there
   that is not visible was drawn before D was read, hence its lock was taken earlier still and has
   a smaller number. If the lock was still held, M is below the id, which is a contradiction; if
   it was not, its transaction had ended, and PostgreSQL makes a commit visible before it releases
   locks: then the id is visible, or its transaction was rolled back and it never will be.

The other horizon in use, `xid < pg_snapshot_xmin(pg_current_snapshot())`, stands still while any
transaction of any database of the server is writing anything, and transaction ids, given out at
the first write, order neither keys nor ids. This one knows only those who are publishing, by
process. And since a unit of work publishes at its very end, its locks are held for one commit:
no key waits for the rest of anybody's work, and two units of work cannot wait for each other.

There is no NOTIFY (it would serialise all commits); the relay polls.

A message whose transaction is rolled back leaves a hole in the ids and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from neo_polystore.errors import FieldProblem, UsageError, ValidationError
from neo_polystore.pgkit import exact_json
from neo_polystore.pgkit.database import Connection, Database
from neo_polystore.ports.outbox import Draft, Outbox
from neo_polystore.records.scope import NOBODY, Scope

MOST_TOPIC: Final = 100
MOST_KEY_BYTES: Final = 2000

_PUBLISH = "SELECT outbox.publish($1, $2, $3, $4)"
_WAITING = "SELECT outbox.waiting($1, $2)"


class Prepared:
    """A draft that was found storable, with its payload as JSON text."""

    __slots__ = ("idempotency_key", "key", "payload", "topic")

    def __init__(self, draft: Draft):
        """Raises ValidationError for a payload that is no JSON, UsageError for topic or key."""
        if not draft.topic or len(draft.topic) > MOST_TOPIC or "\0" in draft.topic:
            raise UsageError(f"a topic has 1 to {MOST_TOPIC} characters, not {draft.topic!r}")
        try:
            size = len(draft.key.encode())
            self.payload = exact_json.dumps(draft.payload)
        except ValueError as error:
            raise ValidationError(
                [FieldProblem("payload", str(error))], operation="publish"
            ) from None
        if size > MOST_KEY_BYTES or "\0" in draft.key:
            raise UsageError(f"a key has at most {MOST_KEY_BYTES} bytes and no NUL")
        self.topic = draft.topic
        self.key = draft.key
        self.idempotency_key = draft.idempotency_key


async def publish(connection: Connection, messages: Sequence[Prepared]) -> list[int]:
    """Store messages in the connection's open transaction; their ids, in order.

    They belong to the tenant and service that are in force there. Holds the keys until the
    transaction ends: call it last. Of two transactions that publish more than once, one may be
    told to run again (SerializationError).
    """
    if not messages:
        return []
    ids: list[int] = await connection.fetchval(
        _PUBLISH,
        [message.topic for message in messages],
        [message.key for message in messages],
        [message.payload for message in messages],
        [message.idempotency_key for message in messages],
    )
    return ids


class PgOutbox:
    """Publishing outside of a unit of work; see `ports.outbox`."""

    def __init__(self, database: Database):
        self._database = database

    async def publish(self, drafts: Sequence[Draft], scope: Scope = NOBODY) -> list[int]:
        """One transaction for all of them."""
        prepared = [Prepared(draft) for draft in drafts]
        ids: list[int] = []

        async def work() -> None:
            nonlocal ids
            async with self._database.statement("outbox.publish", scope) as connection:
                ids = await publish(connection, prepared)

        await self._database.retrying(work)
        return ids

    async def waiting(self, topic: str, keys: Sequence[str]) -> bool:
        """One look at what the topic's relay has still before it."""
        async with self._database.acquire("outbox.waiting") as connection:
            return bool(await connection.fetchval(_WAITING, topic, list(keys)))


_: type[Outbox] = PgOutbox
