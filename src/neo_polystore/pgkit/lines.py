"""Connections beside the pool for gathered calls: kept open, their statements kept prepared."""

from __future__ import annotations

from neo_polystore.activity import Connections
from neo_polystore.pgkit.database import Connection, Database


class Lines:
    """Dedicated connections of one database, as many as are in use at the same time.

    Each is opened at its first use and replaced at the next one after it was lost. Whoever uses
    lines bounds how many he uses at once (nobody waits here) and translates the driver's errors.
    """

    def __init__(self, database: Database):
        self._database = database
        self._idle: list[Connection] = []
        self._active = 0

    @property
    def connections(self) -> Connections:
        """How many lines are taken now, and how many wait."""
        return Connections(active=self._active, idle=len(self._idle))

    async def take(self) -> Connection:
        """A line, to be given back. Raises UnavailableError, or the driver's error."""
        _ = self._database.pool  # raises where the database is not open (yet, or any more)
        self._database.usage.uses += 1
        connection = self._open_one() or await self._database.dedicated()
        self._active += 1
        return connection

    def give(self, connection: Connection) -> None:
        """Give a line back; one that is closed by now is forgotten."""
        self._active -= 1
        if not connection.is_closed():
            self._idle.append(connection)

    def _open_one(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def close(self) -> None:
        """Close the lines that nobody uses; call it when nobody does."""
        while self._idle:
            await self._idle.pop().close(timeout=5)
