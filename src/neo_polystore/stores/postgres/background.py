"""The database as the role of background work sees it: relay, scheduler, operators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from neo_polystore.pgkit.database import Connection, Database


class Background(Database):
    """A small pool of its own that opens at its first use, in whichever process does such work.

    A platform without that role works, but for this: ConfigError says which setting is missing.
    """

    async def connect(self) -> None:
        """Open the pool as the relay's role; ConfigError where none is configured."""
        if self._pool is None:
            self.config = self.config.as_relay()
            await super().connect()

    @asynccontextmanager
    async def taken(self, operation: str) -> AsyncIterator[Connection]:
        await self.connect()
        async with super().taken(operation) as connection:
            yield connection
