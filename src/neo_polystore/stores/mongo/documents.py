"""One collection in MongoDB: idempotent batches, typed queries, the stored document as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from neo_polystore.activity import Recorder
from neo_polystore.errors import NotFoundError
from neo_polystore.records.batch import last_by_key
from neo_polystore.records.checked import checked
from neo_polystore.records.conditions import place_in, sort_values
from neo_polystore.records.documents import Document
from neo_polystore.records.history import Version, require_versioned
from neo_polystore.records.query import Query, check_limit, check_numeric
from neo_polystore.records.results import Page, Written
from neo_polystore.records.rules import ID, VERSION
from neo_polystore.records.scope import Scope
from neo_polystore.records.values import is_text
from neo_polystore.stores.mongo import history, writing
from neo_polystore.stores.mongo.changes import Change, follow
from neo_polystore.stores.mongo.conditions import indexed, path_of
from neo_polystore.stores.mongo.errors import STORE, translated
from neo_polystore.stores.mongo.pages import continued, cursor_of, sort_of


class MongoDocuments:
    """The port of one collection; see `ports.documents`."""

    def __init__(
        self,
        target: AsyncCollection[dict[str, Any]],
        record: type[Document],
        recorder: Recorder | None = None,
    ):
        self.target = target
        self._primary = target.with_options(read_concern=ReadConcern("local"))
        self.document = record
        self._recorder = recorder or Recorder("mongo")

    @property
    def record(self) -> type[Document]:
        """The record model."""
        return self.document

    def within(self, scope: Scope) -> Self:
        """This port: no tenant owns a collection."""
        return self

    async def write(self, records: Sequence[Document]) -> Written:
        """Store a batch. Each document is atomic; the server has no order between them."""
        collection = self.document.collection
        found = checked(collection, records)
        _, written = last_by_key(found.good)
        written.rejected = found.rejected
        if found.bodies:
            bodies = list(found.bodies.values())
            async with self._asking(f"{collection.name}.write"):
                written += await writing.write(self._primary, collection, bodies, found.places)
        written.rejected.sort(key=lambda rejection: rejection.index)
        return written

    async def native(self, key: str) -> dict[str, Any]:
        """The document as the driver reads it; raises NotFoundError."""
        found = None
        async with self._asking(f"{self.document.data_type}.get"):
            if is_text(key):
                found = await self.target.find_one({ID: {"$eq": key}})
        if found is None:
            data_type = self.document.data_type
            raise NotFoundError(f"no {data_type} record with key {key!r}", store=STORE)
        return found

    def follow(
        self, *, after: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """The collection's changes from now on, or after a position; see `changes.follow`."""
        return follow(self.target, after=after)

    async def versions(self, key: str) -> list[Version]:
        """Every state that the document has had; see `ports.documents`."""
        require_versioned(self.document, store=STORE)
        current = await self.native(key)
        async with self._asking(f"{self.document.data_type}.versions"):
            kept = await history.kept(self.target, key, before=history.number_of(current))
        found = [
            Version(row["version"], self._record(row["body"]), row["replaced_at"]) for row in kept
        ]
        return [*found, Version(history.number_of(current), self._record(current), None)]

    async def get(self, key: str) -> Document:
        """The document with this `_id`; raises NotFoundError."""
        return self._record(await self.native(key))

    def _record(self, body: dict[str, Any]) -> Document:
        body = {**_plain(body), ID: str(body[ID])}
        if self.document.collection.versioned:
            body.pop(VERSION, None)
        return self.document.stored(body)

    async def find(self, query: Query) -> Page[Document]:
        """One page; see `ports.records`."""
        found, after = await self._page("find", query)
        return Page([self._record(body) for body in found], after)

    async def project(self, query: Query, fields: Sequence[str]) -> Page[dict[str, Any]]:
        """One page of some fields; see `ports.documents`."""
        paths = {field: path_of(self.document, field) for field in fields}
        ordered = [field for field, _ in sort_of(self.document, query)]
        asked = outermost([*paths.values(), *ordered])
        found, after = await self._page("project", query, dict.fromkeys(asked, 1))
        rows = [{ID: str(body[ID]), **_projected(_plain(body), paths)} for body in found]
        return Page(rows, after)

    async def _page(
        self, operation: str, query: Query, projection: dict[str, int] | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        check_limit(query)
        wanted = indexed(self.document, query)
        if beyond := continued(self.document, query):
            wanted = {**wanted, "$and": [*wanted.get("$and", ()), beyond]}
        sort = sort_of(self.document, query)
        async with self._asking(f"{self.document.data_type}.{operation}"):
            cursor = self.target.find(wanted, projection).sort(sort).limit(query.limit + 1)
            found = await cursor.to_list()
        more = len(found) > query.limit
        found = found[: query.limit]
        after = cursor_of(self.document, query, found[-1]) if more else None
        return found, after

    async def count(self, query: Query) -> int:
        """How many documents satisfy the conditions."""
        wanted = indexed(self.document, query)
        async with self._asking(f"{self.document.data_type}.count"):
            return await self.target.count_documents(wanted)

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """The sum of a declared number, exact for int and long."""
        check_numeric(self.document, field)
        exact = place_in(self.document, field).kind == "int"
        value = f"${path_of(self.document, field)}"
        # a sum of longs turns into a double when it passes 64 bits
        summed = {"$toDecimal": value} if exact else value
        rows = await self._aggregate(
            "sum", query, {"$group": {"_id": None, "total": {"$sum": summed}}}
        )
        total = rows[0]["total"] if rows else 0
        if isinstance(total, Decimal128):
            return int(total.to_decimal())
        return int(total) if exact else float(total)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values at a field or path, items of arrays one by one."""
        steps = path_of(self.document, field).split(".")
        # arrays on the way are entered like the one at the end; what is no array passes
        paths = ["$" + ".".join(steps[: end + 1]) for end in range(len(steps))]
        rows = await self._aggregate(
            "distinct",
            query,
            *({"$unwind": path} for path in paths),
            {"$group": {"_id": paths[-1]}},
        )
        return sort_values([_plain(row["_id"]) for row in rows if row["_id"] is not None])

    @asynccontextmanager
    async def _asking(self, operation: str) -> AsyncIterator[None]:
        with self._recorder.statement(operation):
            async with translated(operation):
                yield

    async def _aggregate(
        self, operation: str, query: Query, *stages: dict[str, Any]
    ) -> list[dict[str, Any]]:
        wanted = indexed(self.document, query)
        async with self._asking(f"{self.document.data_type}.{operation}"):
            cursor = await self.target.aggregate([{"$match": wanted}, *stages], allowDiskUse=True)
            return await cursor.to_list()


def outermost(paths: Sequence[str]) -> list[str]:
    """The paths without those inside of others: a projection takes no two that collide."""
    found: list[str] = []
    for path in sorted(set(paths), key=len):
        if not any(path.startswith(f"{outer}.") for outer in found):
            found.append(path)
    return found


_ABSENT = object()


def _projected(body: dict[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """The values at these paths, by the names asked for; what lies in an array is absent."""
    found = {}
    for field, path in paths.items():
        value: Any = body
        for step in path.split("."):
            value = value.get(step, _ABSENT) if isinstance(value, dict) else _ABSENT
        if value is not _ABSENT:
            found[field] = value
    return found


def _plain(value: Any) -> Any:
    """The driver's values as Python's own."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, Int64) else value


if TYPE_CHECKING:
    from neo_polystore.ports.documents import Documents

    def _is_port(port: MongoDocuments) -> Documents:
        return port
