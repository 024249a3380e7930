"""Backs up the indexes of the days: their entries as JSON lines, in the order of the ids.

Each day is read through a scroll, the server's own snapshot of an index, which Elasticsearch and
OpenSearch share. All are opened at the beginning, so that the days are of one moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

from neo_polystore.errors import BackupError
from neo_polystore.ports.backup import Backing, BackupScope, Phase, Saved, Snapshot, Stream
from neo_polystore.records.logs import LogEntry
from neo_polystore.stores.elasticsearch.client import Answer, Client, opened
from neo_polystore.stores.elasticsearch.config import ElasticsearchConfig
from neo_polystore.stores.elasticsearch.days import PAGE, Day, Days
from neo_polystore.stores.elasticsearch.documents import STORED, from_document
from neo_polystore.stores.elasticsearch.errors import STORE, refused
from neo_polystore.stores.elasticsearch.query import EVERYTHING
from neo_polystore.stores.elasticsearch.templates import apply
from neo_polystore.stores.elasticsearch.writing import requests

_ALIVE: Final = "30m"  # how long the server keeps a scroll that nobody asks
_MOST_DAYS: Final = 450  # the server keeps 500 scrolls
_SUFFIX: Final = ".ndjson"


class ElasticsearchSnapshot:
    """One scroll per day; each may be read once."""

    positions: Mapping[str, Any]
    excluded: Mapping[str, str]

    def __init__(self, client: Client, scrolls: Mapping[str, tuple[Day, Answer]]):
        self._client = client
        self._scrolls = scrolls
        self._rows: dict[str, int] = {}
        self.positions = {"days": len(scrolls)}
        self.excluded = {}
        self.held = True

    def streams(self) -> Sequence[Stream]:
        """A stream per day."""
        return [Stream(name, day.bytes) for name, (day, _) in self._scrolls.items()]

    def rows(self, name: str) -> int | None:
        """The entries that were read."""
        return self._rows.get(name)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """The entries of a day, as documents of what an entry is made of."""
        _, answer = self._scrolls[name]
        rows = 0
        while hits := answer["hits"]["hits"]:
            rows += len(hits)
            yield b"".join(
                orjson.dumps(
                    hit["_source"], option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
                )
                for hit in hits
            )
            body = {"scroll": _ALIVE, "scroll_id": answer["_scroll_id"]}
            answer = await self._client.ask("backup", "POST", ["_search", "scroll"], body)
        self._rows[name] = rows


class ElasticsearchBacking:
    """The days of one prefix on one server."""

    phase: Phase = "follows"
    home: str | None = None

    def __init__(self, config: ElasticsearchConfig):
        self._config = config

    @property
    def place(self) -> str:
        """The server and what its indexes begin with."""
        return self._config.place

    @asynccontextmanager
    async def before(self) -> AsyncIterator[Mapping[str, Any]]:
        """Nothing to be remembered."""
        yield {}

    @asynccontextmanager
    async def snapshot(self, scope: BackupScope) -> AsyncIterator[Snapshot]:
        """Open a scroll for every day."""
        async with opened(self._config) as client:
            days = await Days(client).all("backup")
            if len(days) > _MOST_DAYS:
                raise BackupError(
                    f"{len(days)} days of logs: {_MOST_DAYS} can be read", store=STORE
                )
            scrolls: dict[str, tuple[Day, Answer]] = {}
            try:
                for day in days:
                    scrolls[f"{day.name}{_SUFFIX}"] = (day, await _scroll(client, day))
                yield ElasticsearchSnapshot(client, scrolls)
            finally:
                if scrolls:
                    ids = {"scroll_id": [answer["_scroll_id"] for _, answer in scrolls.values()]}
                    path = ["_search", "scroll"]
                    await client.ask("backup", "DELETE", path, ids, missing={})

    async def occupied(self, scope: BackupScope) -> str | None:
        """Days that are there."""
        async with opened(self._config) as client:
            days = await Days(client).all("restore")
        names = ", ".join(day.name for day in days[:3])
        return f"{self.place} holds the logs of {names}" if days else None

    async def clear(self, scope: BackupScope) -> None:
        """Remove the days."""
        async with opened(self._config) as client:
            days = Days(client)
            for day in await days.all("restore"):
                await days.discard("restore", day)

    async def restore(self, saved: Saved, scope: BackupScope) -> dict[str, int]:
        """Add the entries of each day to an index of its own."""
        rows: dict[str, int] = {}
        async with opened(self._config) as client:
            await apply(client, dry_run=False)
            for name in saved.names:
                day = name.removesuffix(_SUFFIX)
                if day == name:
                    raise BackupError(f"{name!r} is no day of logs", store=STORE)
                index = self._config.index(day)
                rows[day] = await _fill(client, index, saved.read(name))
        return rows


async def _scroll(client: Client, day: Day) -> Answer:
    body = {"query": EVERYTHING, "size": PAGE, "sort": ["id"], "_source": list(STORED)}
    answer: Answer = await client.ask("backup", "POST", [day.index, "_search"], body, scroll=_ALIVE)
    return answer


async def _fill(client: Client, index: str, pieces: AsyncIterator[bytes]) -> int:
    rows = 0
    waiting: list[LogEntry] = []
    async for line in _lines(pieces):
        waiting.append(from_document(orjson.loads(line)))
        rows += 1
        if len(waiting) >= PAGE:
            await _add(client, index, waiting)
            waiting = []
    await _add(client, index, waiting)
    await client.ask("restore", "POST", [index, "_refresh"], missing={})
    return rows


async def _add(client: Client, index: str, entries: Sequence[LogEntry]) -> None:
    for _, lines in requests(entries):
        for item in await client.bulk("restore", index, lines):
            if item["status"] >= 300:
                raise refused(item["status"], item, "restore")


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line
    if rest:
        raise BackupError("a stream of logs ends within a line", store=STORE)


_: type[Backing] = ElasticsearchBacking
