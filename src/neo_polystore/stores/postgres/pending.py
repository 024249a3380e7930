"""Messages that a unit of work has yet to write: all at once, right before its commit."""

from __future__ import annotations

from typing import Final

from neo_polystore.pgkit.database import Database
from neo_polystore.ports.outbox import Draft
from neo_polystore.stores.postgres.outbox import Prepared, publish

MOST: Final = 1000
"""More than this are written early, so that memory stays bounded."""


class Pending:
    """Belongs to one unit of work.

    Writing late keeps a key's lock for the commit only; see `outbox`. What a savepoint may have
    to undo must not be mixed with what came before it, so it is written when one is set: then
    whatever is left here is younger than every savepoint.
    """

    def __init__(self, database: Database):
        self._database = database
        self._messages: list[Prepared] = []

    async def add(self, draft: Draft) -> None:
        """Take a message; ValidationError or UsageError where it cannot be stored."""
        self._messages.append(Prepared(draft))
        if len(self._messages) >= MOST:
            await self.write()

    async def write(self) -> None:
        """Write what was taken."""
        if self._messages:
            messages, self._messages = self._messages, []
            async with self._database.acquire("publish") as connection:
                await publish(connection, messages)

    def forget(self) -> None:
        """Undo what was taken since the last savepoint."""
        self._messages = []
