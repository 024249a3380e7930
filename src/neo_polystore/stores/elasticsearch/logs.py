"""The port `logs`: write, get, find, count, distinct over the indexes of all days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Self

from neo_polystore.coalesce import Coalescer, Counts
from neo_polystore.errors import NotFoundError, UnavailableError, UnsupportedError
from neo_polystore.records.batch import last_by_key
from neo_polystore.records.log_pages import cursor, order_of, position
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.query import (
    Query,
    check_field,
    check_limit,
    check_numeric,
)
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import Scope
from neo_polystore.records.times import moment
from neo_polystore.stores.elasticsearch.client import Client
from neo_polystore.stores.elasticsearch.documents import (
    STORED,
    TEXT_FIELDS,
    from_document,
    pair_prefix,
)
from neo_polystore.stores.elasticsearch.errors import STORE
from neo_polystore.stores.elasticsearch.query import Condition, after, all_of, matching
from neo_polystore.stores.elasticsearch.writing import Writer

if TYPE_CHECKING:
    from neo_polystore.ports.logs import Logs

Batch = Mapping[str, LogEntry]
_GATHERED: Final = 5_000  # lines of waiting calls that share a request
_VALUES: Final = 1_000  # distinct values of one answer


class ElasticsearchLogs:
    """Entries in the index of the day they arrived; see `ports.logs`.

    Whatever time an entry states, it is found: a query asks every day. Calls that write while a
    request is under way are gathered and share the next one, and its refresh.

    Selectable are id, timestamp, system, level, host, trace_id and `fields.<name>`; the message
    by its words only. Pages are ordered by id, timestamp or system.
    """

    def __init__(self, client: Client, writer: Writer):
        self._client = client
        self._writer = writer
        self._appends: Coalescer[Batch, int] | None = None

    @property
    def counts(self) -> dict[str, Counts]:
        """What was gathered since `start`."""
        return {"writes": self._appends.counts} if self._appends is not None else {}

    @property
    def record(self) -> type[LogEntry]:
        """The record model."""
        return LogEntry

    def within(self, scope: Scope) -> Self:
        """No tenant owns log lines: the same port."""
        return self

    def start(self) -> None:
        """Take writes from now on."""
        if self._appends is None:
            self._appends = Coalescer(self._writer.append, lanes=2, max_weight=_GATHERED, weigh=len)

    async def stop(self) -> None:
        """Finish the writes that were accepted."""
        appends, self._appends = self._appends, None
        if appends is not None:
            await appends.close()

    async def write(self, records: Sequence[LogEntry]) -> Written:
        """Store entries, durably, each once by its id; see `ports.records`."""
        if self._appends is None:
            raise UnavailableError("not connected", store=STORE, operation="logs.write")
        batch, written = last_by_key(records)
        if batch:
            written.new = await self._appends.call(batch)
            written.existing += len(batch) - written.new
        return written

    async def get(self, key: str) -> LogEntry:
        """The entry with this id; raises NotFoundError."""
        found = await self._search("logs.get", {"term": {"id": key}}, size=1)
        if not found:
            raise NotFoundError(f"no logs record with key {key!r}", store=STORE)
        return found[0]

    async def find(self, query: Query) -> Page[LogEntry]:
        """One page; see `ports.records`."""
        check_limit(query)
        order = order_of(query)
        wanted = matching(query)
        if (place := position(query, order)) is not None:
            wanted = all_of([wanted, after(order, *place, descending=query.descending)])
        direction = "desc" if query.descending else "asc"
        sort = [{field: direction} for field in (order, "id") if field is not None]
        # one more tells whether another page follows
        entries = await self._search("logs.find", wanted, size=query.limit + 1, sort=sort)
        more = len(entries) > query.limit
        entries = entries[: query.limit]
        return Page(entries, cursor(entries[-1], order) if more else None)

    async def count(self, query: Query) -> int:
        """How many entries satisfy the conditions."""
        path = [self._client.config.pattern, "_count"]
        body = {"query": matching(query)}
        answer = await self._client.ask("logs.count", "POST", path, body)
        return int(answer["count"])

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """Entries have no number: always a UsageError, naming the field."""
        check_numeric(LogEntry, field)
        raise UnsupportedError(f"logs cannot be summed by {field!r}", store=STORE)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values of a field, sorted."""
        check_field(LogEntry, field)
        head, _, path = field.partition(".")
        wanted = matching(query)
        if head == "timestamp":
            return [moment(value) for value in await self._values(wanted, head)]
        if head == "fields" and path:
            prefix = pair_prefix(path)
            # the pairs of a name follow on `name<`, the character before `=`, and whatever
            found = await self._values(wanted, "pairs", prefix, f"{prefix[:-1]}<\U0010ffff")
            return [value.removeprefix(prefix) for value in found]
        if head in ("id", *TEXT_FIELDS):
            return await self._values(wanted, head)
        raise UnsupportedError(f"logs cannot list the values of {field!r}", store=STORE)

    async def _values(
        self, wanted: Condition, field: str, prefix: str = "", start: Any = None
    ) -> list[Any]:
        """The different values that begin with the prefix, in order, from behind `start`."""
        values: list[Any] = []
        while True:
            source = [{"value": {"terms": {"field": field}}}]
            composite: dict[str, Any] = {"sources": source, "size": _VALUES}
            if start is not None:
                composite["after"] = {"value": start}
            body = {"query": wanted, "size": 0, "aggs": {"values": {"composite": composite}}}
            path = [self._client.config.pattern, "_search"]
            answer = await self._client.ask("logs.distinct", "POST", path, body)
            buckets = answer.get("aggregations", {}).get("values", {}).get("buckets", [])
            for bucket in buckets:
                value = bucket["key"]["value"]
                if prefix and not value.startswith(prefix):
                    return values
                values.append(value)
            if len(buckets) < _VALUES:
                return values
            start = values[-1]

    async def _search(
        self, operation: str, wanted: Condition, *, size: int, sort: Sequence[Any] = ("_doc",)
    ) -> list[LogEntry]:
        body = {
            "query": wanted,
            "size": size,
            "sort": list(sort),
            "_source": list(STORED),
            "track_total_hits": False,
        }
        path = [self._client.config.pattern, "_search"]
        answer = await self._client.ask(operation, "POST", path, body)
        return [from_document(hit["_source"]) for hit in answer["hits"]["hits"]]


if TYPE_CHECKING:
    _: type[Logs] = ElasticsearchLogs
