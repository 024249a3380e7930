"""The indexes of the days: which there are, how large they are, and their entries page by page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final

from neo_polystore.stores.elasticsearch.client import Client
from neo_polystore.stores.elasticsearch.documents import STORED
from neo_polystore.stores.elasticsearch.query import Condition, all_of

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Day:
    """One index. `bytes` are those on disk."""

    name: str
    index: str
    entries: int
    bytes: int

    @property
    def start(self) -> datetime:
        """Its first moment (UTC)."""
        return datetime.combine(date.fromisoformat(self.name), time(), tzinfo=UTC)


class Days:
    """Asks for the days of one prefix."""

    def __init__(self, client: Client):
        self._client = client

    async def all(self, operation: str) -> list[Day]:
        """Every day, oldest first."""
        config = self._client.config
        rows = await self._client.ask(
            operation,
            "GET",
            ["_cat", "indices", config.pattern],
            format="json",
            h="index,docs.count,store.size",
            bytes="b",
        )
        days = [
            Day(
                config.day(row["index"]),
                row["index"],
                int(row["docs.count"] or 0),
                int(row["store.size"] or 0),
            )
            for row in rows
            if _DAY.fullmatch(config.day(row["index"]))
        ]
        return sorted(days, key=lambda day: day.name)

    async def count(self, operation: str, day: Day, wanted: Condition) -> int:
        """How many entries of a day satisfy a condition."""
        path = [day.index, "_count"]
        answer = await self._client.ask(operation, "POST", path, {"query": wanted}, missing={})
        return int(answer.get("count", 0))

    async def hits(
        self, operation: str, day: Day, wanted: Condition, *, size: int = PAGE
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """What satisfies a condition, in the order of the ids, a page at a time."""
        after: str | None = None
        while True:
            beyond = [{"range": {"id": {"gt": after}}}] if after is not None else []
            body = {
                "query": all_of([wanted, *beyond]),
                "size": size,
                "sort": ["id"],
                "_source": list(STORED),
                "track_total_hits": False,
            }
            path = [day.index, "_search"]
            answer = await self._client.ask(operation, "POST", path, body, missing={})
            found = answer.get("hits", {}).get("hits", [])
            if found:
                yield found
            if len(found) < size:
                return
            after = found[-1]["_source"]["id"]

    async def discard(self, operation: str, day: Day) -> None:
        """Remove a day with all that is in it; harmless where it is gone."""
        await self._client.ask(operation, "DELETE", [day.index], missing={})
