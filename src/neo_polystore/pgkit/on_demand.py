"""A database as another role than the application's, opened when it is first needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from neo_polystore.activity import Recorder
from neo_polystore.pgkit.database import Connection, Database, PgConfig


class OnDemand(Database):
    """A small pool of its own, in whichever process needs it.

    A platform without that role works, but for this: ConfigError says which setting is missing.
    """

    def __init__(
        self,
        config: PgConfig,
        role: Callable[[PgConfig], PgConfig],
        *,
        store: str,
        recorder: Recorder | None = None,
    ):
        super().__init__(config, store=store, recorder=recorder)
        self._role = role

    async def connect(self) -> None:
        """Open the pool as the role; ConfigError where none is configured."""
        if self._pool is None:
            self.config = self._role(self.config)
            await super().connect()

    @asynccontextmanager
    async def taken(self, operation: str) -> AsyncIterator[Connection]:
        await self.connect()
        async with super().taken(operation) as connection:
            yield connection
