"""Stores batches of entries, each once by its id over all days, in the index of today."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

import orjson

from neo_polystore.records.logs import LogEntry
from neo_polystore.stores.elasticsearch.client import Client
from neo_polystore.stores.elasticsearch.documents import name_of, to_document
from neo_polystore.stores.elasticsearch.errors import refused

Batch = Mapping[str, LogEntry]

SKEW: Final = timedelta(minutes=5)
"""How far two writers' clocks may be apart: so long around midnight both days are looked at."""

_CONFLICT: Final = 409
_MISSING: Final = 404
_PORTION: Final = 5_000  # entries that are looked for at once; the server finds 10,000 at most
_BYTES: Final = 896 << 10  # of one request: larger ones would hold up the event loop


class Writer:
    """Adds entries to the index of the day on which they arrive.

    The server keeps an id unique within one index only, so those of other days are searched
    first. Around midnight two writers may see two days: each looks, after it has written, for its
    ids in the other day, past the search and its delay; of two the earlier day's stays.
    """

    def __init__(self, client: Client, now: Callable[[], datetime]):
        self._client = client
        self._now = now

    async def append(self, batches: Sequence[Batch]) -> list[int]:
        """Store batches (entries by id); answers how many of each were new.

        Where batches share an id the first one's entry stands. What is answered is on the
        server's disk and is found by every search that begins afterwards.
        """
        entries: dict[str, LogEntry] = {}
        for batch in batches:
            entries = {**batch, **entries}
        made: set[str] = set()
        each = iter(entries.items())
        while portion := dict(islice(each, _PORTION)):
            made |= await self._store(portion)
        counts = []
        for batch in batches:
            counts.append(len(made & batch.keys()))
            made -= batch.keys()
        return counts

    async def _store(self, entries: Batch) -> set[str]:
        now = self._now().astimezone(UTC)
        today = now.date().isoformat()
        known = await self._known(entries, today)
        made = await self._create(today, [e for key, e in entries.items() if key not in known])
        for day in {(now + shift).date().isoformat() for shift in (-SKEW, SKEW)} - {today}:
            made -= await self._twins(made, today, day)
        return made

    async def _known(self, entries: Batch, today: str) -> set[str]:
        """Those of the ids that are stored on another day than today."""
        config = self._client.config
        names = {name_of(key): key for key in entries}
        answer = await self._client.ask(
            "logs.write",
            "POST",
            [f"{config.pattern},-{config.index(today)}", "_search"],
            {
                "query": {"ids": {"values": list(names)}},
                "size": len(names),
                "sort": ["_doc"],
                "_source": False,
                "track_total_hits": False,
            },
            ignore_unavailable="true",  # today may not be there yet
        )
        return {names[hit["_id"]] for hit in answer["hits"]["hits"]}

    async def _create(self, day: str, entries: Iterable[LogEntry]) -> set[str]:
        """Add those that the day does not have; answers their ids."""
        index = self._client.config.index(day)
        made: set[str] = set()
        for keys, lines in requests(entries):
            items = await self._client.bulk("logs.write", index, lines, refresh="true")
            for key, item in zip(keys, items, strict=True):
                if item["status"] < 300:
                    made.add(key)
                elif item["status"] != _CONFLICT:
                    raise refused(item["status"], item, "logs.write")
        return made

    async def _twins(self, made: set[str], today: str, other: str) -> set[str]:
        """Of what both days have now, remove the later day's; those of ours that went."""
        config = self._client.config
        names = {name_of(key): key for key in made}
        path = [config.index(other), "_mget"]
        answer = await self._client.ask(
            "logs.write", "POST", path, {"ids": list(names)}, missing={}, _source="false"
        )
        twins = [doc["_id"] for doc in answer.get("docs", ()) if doc.get("found")]
        if not twins:
            return set()
        lines = [orjson.dumps({"delete": {"_id": name}}) for name in twins]
        later = config.index(max(today, other))
        for item in await self._client.bulk("logs.write", later, lines, refresh="true"):
            if item["status"] >= 300 and item["status"] != _MISSING:
                raise refused(item["status"], item, "logs.write")
        return {names[name] for name in twins} if today > other else set()


def requests(entries: Iterable[LogEntry]) -> Iterator[tuple[list[str], list[bytes]]]:
    """The ids and lines of requests of bounded size."""
    keys: list[str] = []
    lines: list[bytes] = []
    size = 0
    for entry in entries:
        keys.append(entry.id)
        lines.append(orjson.dumps({"create": {"_id": name_of(entry.id)}}))
        lines.append(orjson.dumps(to_document(entry)))
        size += len(lines[-2]) + len(lines[-1])
        if size >= _BYTES:
            yield keys, lines
            keys, lines, size = [], [], 0
    if keys:
        yield keys, lines
