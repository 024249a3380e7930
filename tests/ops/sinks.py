"""Sinks for the relay's tests: one in memory that obeys, one in tables that fails at random."""

from __future__ import annotations

import random
from collections.abc import Sequence

import asyncpg

from neo_polystore.errors import UnavailableError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.ports.outbox import Message, Refused

TABLES = """
CREATE TABLE public.attempts (seq bigint GENERATED ALWAYS AS IDENTITY, message bigint,
    key text, n int);
CREATE TABLE public.received (seq bigint GENERATED ALWAYS AS IDENTITY, message bigint UNIQUE,
    key text, n int);
"""


class Collecting:
    """Keeps what it gets. `errors` are raised one per call before it takes anything more;
    `poison` refuses payloads, `explode` raises for the whole batch that holds such a payload."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.errors: list[Exception] = []
        self.poison: set[object] = set()
        self.explode: dict[object, Exception] = {}
        self.largest = 0

    async def deliver(self, messages: Sequence[Message]) -> list[Refused]:
        self.largest = max(self.largest, len(messages))
        if self.errors:
            raise self.errors.pop(0)
        for message in messages:
            if message.payload in self.explode:
                raise self.explode[message.payload]
        refused = [Refused(m, "poisonous") for m in messages if m.payload in self.poison]
        self.got += [m for m in messages if m.payload not in self.poison]
        return refused

    @property
    def payloads(self) -> list[object]:
        return [message.payload for message in self.got]


class FailingTables:
    """An idempotent sink: `received` has every message once. It fails before, in the middle of and
    after its work, and `attempts` has every message as often as it came."""

    def __init__(self, config: PgConfig, *, seed: int):
        self._config = config
        self._random = random.Random(seed)
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def deliver(self, messages: Sequence[Message]) -> list[Refused]:
        if self._connection is None:
            arguments = self._config.connect_arguments(as_owner=True)
            self._connection = await asyncpg.connect(**arguments)
        fate = self._random.random()
        if fate < 0.1:
            raise UnavailableError("before")
        taken = messages[: len(messages) // 2] if fate < 0.2 else messages
        rows = [(m.id, m.key, m.payload["n"]) for m in taken]
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        for table, rest in (("attempts", ""), ("received", " ON CONFLICT DO NOTHING")):
            await self._connection.execute(
                f"INSERT INTO public.{table} (message, key, n)"
                f" SELECT * FROM unnest($1::bigint[], $2::text[], $3::int[]){rest}",
                *columns,
            )
        if fate < 0.3:
            raise UnavailableError("after")
        return []

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
