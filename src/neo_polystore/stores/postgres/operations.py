"""Named operations: a whole unit of work that is run again where it lost, logged and counted."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from neo_polystore.activity import ByName, OperationCounts
from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.errors import SerializationError
from neo_polystore.ports.relational import Isolation
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.unit_of_work import UnitOfWork, unit_of_work

T = TypeVar("T")

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_.]{0,99}")


class Operations:
    """The named operations of one store."""

    def __init__(self, database: Database):
        self._database = database
        self._counts: ByName[OperationCounts] = ByName(OperationCounts)

    @property
    def counts(self) -> Mapping[str, OperationCounts]:
        """By name, what was run so far."""
        return self._counts

    async def run(
        self,
        name: str,
        work: Callable[[UnitOfWork], Awaitable[T]],
        *,
        scope: Scope,
        isolation: Isolation | None = None,
    ) -> T:
        """The result of `work`, committed; see `ports.relational.Relational`."""
        # names become labels of metrics: they are the code's own, never data
        if not _NAME.fullmatch(name):
            raise UsageError(f"an operation's name is lower-case words with dots, not {name!r}")
        counts = self._counts[name]
        fields = {"operation": name, "tenant": str(scope.tenant or ""), "service": scope.service}

        async def attempt() -> T:
            async with unit_of_work(self._database, scope, isolation=isolation, name=name) as uow:
                return await work(uow)

        def lost(number: int, error: SerializationError) -> None:
            counts.retries += 1
            why = type(error.__cause__).__name__
            _log.info("operation lost, again", extra={**fields, "attempt": number, "why": why})

        started = time.perf_counter()
        try:
            result = await self._database.retries.run(attempt, lost)
        except BaseException as error:
            counts.failed += 1
            took = self._took(counts, started)
            why = type(error).__name__  # not its text, which may quote what was written
            _log.warning("operation failed", extra={**fields, "milliseconds": took, "why": why})
            raise
        counts.committed += 1
        took = self._took(counts, started)
        _log.debug("operation committed", extra={**fields, "milliseconds": took})
        return result

    @staticmethod
    def _took(counts: OperationCounts, started: float) -> float:
        seconds = time.perf_counter() - started
        counts.seconds += seconds
        return round(seconds * 1000, 3)
