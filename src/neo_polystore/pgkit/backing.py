"""Backs up and restores a store whose place is a PostgreSQL database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from neo_polystore.pgkit import hypertables, restore
from neo_polystore.pgkit.backup import Moment, held, no_more
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.ports.backup import Backing, BackupScope, Phase, Saved, Snapshot

Before = Callable[[PgConfig], AbstractAsyncContextManager[Mapping[str, Any]]]


@asynccontextmanager
async def no_facts(_: PgConfig) -> AsyncIterator[Mapping[str, Any]]:
    """Nothing to be held."""
    yield {}


class PgBacking:
    """One database. `home` is the schema of a store that may share the database of another."""

    def __init__(
        self,
        config: PgConfig,
        *,
        store: str,
        phase: Phase,
        home: str | None = None,
        moment: Moment = no_more,
        before: Before = no_facts,
        loaded: restore.Loaded = restore.nothing,
    ):
        self.phase: Phase = phase
        self.home = home
        self._given = config
        self._store = store
        self._moment = moment
        self._before = before
        self._loaded = loaded

    @property
    def config(self) -> PgConfig:
        """The database itself, whatever pooler stands before it."""
        return self._given.direct()

    @property
    def place(self) -> str:
        """Host, port and database."""
        return f"postgresql://{self.config.host}:{self.config.port}/{self.config.database}"

    def before(self) -> AbstractAsyncContextManager[Mapping[str, Any]]:
        """What the store wants to be remembered from before all snapshots."""
        return self._before(self.config)

    @asynccontextmanager
    async def snapshot(self, scope: BackupScope) -> AsyncIterator[Snapshot]:
        """One transaction that all readers share."""
        async with held(self.config, scope, store=self._store, moment=self._moment) as snapshot:
            yield snapshot

    async def occupied(self, scope: BackupScope) -> str | None:
        """Whether there is any table, view or sequence."""
        return await restore.occupied(self.config, scope, store=self._store)

    async def clear(self, scope: BackupScope) -> None:
        """Drop everything; extensions, which belong to the administrator, stay."""
        await restore.clear(self.config, scope, store=self._store)

    async def check(self, saved: Saved, scope: BackupScope) -> None:
        """Hypertables need an administrator and their version of TimescaleDB."""
        if hypertables.DUMP in saved.names:
            await hypertables.check(self.config, saved, store=self._store)

    async def restore(self, saved: Saved, scope: BackupScope) -> dict[str, int]:
        """Make the schema and fill it."""
        return await restore.restore(
            self.config, saved, scope, store=self._store, loaded=self._loaded
        )


_: type[Backing] = PgBacking
