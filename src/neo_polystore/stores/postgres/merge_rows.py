"""Makes the rows of a large batch, one portion ahead of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from neo_polystore.stores.postgres.merge_spec import Merge, Refusal, Row

CHUNK = 20_000
"""A larger batch goes in several statements of one transaction, so that memory stays bounded."""


_SLICE = 500
"""Rows that are made without letting others have their turn: about two milliseconds."""


class RowsAhead:
    """The rows of `places` in portions of bounded weight.

    While the server merges a portion this process has nothing to do but to make the next one:
    whoever waits calls `start` then. Use it as a context, which ends what was started.
    """

    def __init__(self, spec: Merge[Any], records: Sequence[Any], places: Sequence[int]):
        self._spec = spec
        self._records = records
        self._left = iter(places)
        self._making: asyncio.Task[dict[int, Row | Refusal]] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._making is not None:
            self._making.cancel()

    def start(self) -> None:
        """Begin to make the next portion, where that has not been begun."""
        self._begun()

    def _begun(self) -> asyncio.Task[dict[int, Row | Refusal]]:
        if self._making is None:
            self._making = asyncio.create_task(self._make())
        return self._making

    async def take(self) -> dict[int, Row | Refusal]:
        """The next portion by place; empty at the end."""
        rows = await self._begun()
        self._making = None
        return rows

    async def _make(self) -> dict[int, Row | Refusal]:
        rows: dict[int, Row | Refusal] = {}
        for place in self._portion():
            rows[place] = self._spec.prepared(self._records[place])
            if len(rows) % _SLICE == 0:
                await asyncio.sleep(0)
        return rows

    def _portion(self) -> Iterator[int]:
        weight = 0
        for place in self._left:
            yield place
            weight += self._spec.weigh(self._records[place])
            if weight >= CHUNK:
                return
