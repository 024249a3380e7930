"""What a documents port does beside `RecordsSuite`, and the engines that it runs against."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import asyncpg
import orjson
import pytest
from pydantic import SecretStr

from neo_polystore.errors import NotFoundError, UsageError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.ports.documents import Documents
from neo_polystore.ports.store import Store
from neo_polystore.records.collections import read_collections
from neo_polystore.records.documents import Document, document_model, document_models
from neo_polystore.records.query import Filter, Query, parse_condition
from neo_polystore.records.results import Rejection
from neo_polystore.stores.jsonb.store import JsonbStore
from tests.conformance.records import RecordsSuite
from tests.conftest import MakeDatabase

Raw = Callable[[str, dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Engine:
    """A store with its collections migrated, and a way to write past it."""

    store: Store
    insert: Raw


@lru_cache
def models() -> dict[str, type[Document]]:
    """The collections that ship, and one of the tests' own."""
    own = read_collections(Path(__file__).parents[1] / "data" / "mongo")
    return {**document_models(), **{name: document_model(c) for name, c in own.items()}}


async def jsonb_engine(config: PgConfig) -> AsyncIterator[Engine]:
    """PostgreSQL JSONB; direct writes go as the application's own role, by plain SQL."""
    store = JsonbStore(config, models=models())
    await store.migrate()
    await store.connect()

    async def insert(collection: str, body: dict[str, Any]) -> None:
        text = orjson.dumps({k: v for k, v in body.items() if k != "_id"}, default=_no_date)
        connection = await asyncpg.connect(**config.connect_arguments())
        try:
            await connection.execute(
                f'INSERT INTO documents."{collection}" (_id, body) VALUES ($1, $2::text::jsonb)',
                body["_id"],
                text.decode(),
            )
        finally:
            await connection.close()

    yield Engine(store, insert)
    await store.close()


def _no_date(value: object) -> Any:
    raise TypeError(f"cannot write {value!r} by SQL")


async def each_engine(
    request: pytest.FixtureRequest, make_database: MakeDatabase
) -> AsyncIterator[Engine]:
    """The engine that a fixture's parameter names, `jsonb` or `mongo`."""
    if request.param == "mongo":
        engines = mongo_engine(request.getfixturevalue("mongo_server"))
    else:
        engines = jsonb_engine(await make_database("documents"))
    async for engine in engines:
        yield engine


async def mongo_engine(url: str) -> AsyncIterator[Engine]:
    """The MongoDB at this address; direct writes go through a client of their own."""
    from pymongo import AsyncMongoClient

    from neo_polystore.stores.mongo.config import MongoConfig
    from neo_polystore.stores.mongo.store import MongoStore

    database = f"neo_test_{uuid4().hex[:8]}"
    store = MongoStore(MongoConfig(url=SecretStr(url), database=database), models=models())
    await store.connect()
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url)
    try:
        await store.migrate()

        async def insert(collection: str, body: dict[str, Any]) -> None:
            await client[database][collection].insert_one(dict(body))

        yield Engine(store, insert)
        await client.drop_database(database)
    finally:
        await client.close()
        await store.close()


class DocumentsSuite(RecordsSuite):
    """One collection on one engine. Subclasses give `good` documents and what breaks them."""

    mutable = True
    data_type: ClassVar[str]
    broken: ClassVar[dict[str, tuple[dict[str, Any], str, str]]]
    """For each kind of badness: what to change (None removes), the path, a part of the reason."""
    unkept: ClassVar[dict[str, tuple[Any, str, str]]] = {
        "nul": ({"a": "x\x00y"}, "open.a", "NUL"),
        "surrogate": (["\ud800"], "open.0", "surrogate"),
        "dollar": ({"a": {"$set": 1}}, "open.a.$set", "cannot start with $"),
        "dot": ({"a.b": 1}, "open.a.b", "cannot contain a dot"),
        "nul_name": ({"a\x00": 1}, "open.a\\0", "NUL"),
        "number_name": ({1: 1}, "open.1", "must be text"),
        "wide": (2**63, "open", "64 bits"),
        "nan": ([{"x": float("nan")}], "open.0.x", "no JSON number"),
        "naive": (datetime(2024, 1, 1), "open", "without a zone"),  # noqa: DTZ001
        "bytes": (b"x", "open", "type bytes"),
        "set": ({"a": {1}}, "open.a", "type set"),
        "early": (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "open", "year 1"),
        "late": (
            [datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))],
            "open.0",
            "year 9999",
        ),
        "deep": (orjson.loads("[" * 200 + "]" * 200), "open" + ".0" * 7, "deeper than 100 levels"),
        "large": (["x" * 2**20] * 16, "document", "16,777,216"),
    }

    @pytest.fixture
    async def port(self, engine: Engine) -> Documents:
        port: Documents = engine.store.port(self.data_type)
        return port

    @property
    def model(self) -> type[Document]:
        """The record model."""
        return models()[self.data_type]

    @abstractmethod
    def good(self, group: str, number: int = 0) -> dict[str, Any]:
        """A good document, with its `_id`."""

    def samples(self, count: int, *, group: str) -> Sequence[Document]:
        return [self.model.parse(self.good(group, number)) for number in range(count)]

    def record_type(self) -> type[Document]:
        return type(self.samples(1, group=self.new_group())[0])

    def new_group(self) -> str:
        return f"g-{uuid4().hex}"

    def changed(self, record: Document) -> Document:
        return type(record).parse({**record.body(), "added": {"later": True}})

    def unchecked(self, body: dict[str, Any]) -> Document:
        """A record that no model has checked, as a careless caller would make it."""
        return self.model.stored(body)

    def but(self, change: dict[str, Any]) -> dict[str, Any]:
        """A good document with fields changed, or removed where they are None."""
        body = {**self.good(self.new_group()), **change}
        return {name: value for name, value in body.items() if value is not None}

    async def refused(self, port: Documents, body: dict[str, Any]) -> Rejection:
        """The only rejection of a batch that also holds a good document."""
        good = self.samples(1, group=self.new_group())[0]
        written = await port.write([good, self.unchecked(body)])
        assert (written.new, len(written.rejected)) == (1, 1)
        assert await port.get(good.key)
        return written.rejected[0]

    async def test_a_bad_document_is_rejected_with_path_and_rule(self, port: Documents) -> None:
        for change, field, reason in self.broken.values():
            rejection = await self.refused(port, self.but(change))
            assert (rejection.index, rejection.field) == (1, field)
            assert reason in rejection.reason
            assert self.data_type in rejection.reason

    async def test_names_and_values_that_no_engine_keeps_are_rejected(
        self, port: Documents
    ) -> None:
        for value, field, reason in self.unkept.values():
            rejection = await self.refused(port, self.but({"open": value}))
            assert rejection.field == field
            assert reason in rejection.reason

    async def test_a_rejected_document_leaves_no_trace(self, port: Documents) -> None:
        body = self.but({"open": float("inf")})
        await port.write([self.unchecked(body)])
        with pytest.raises(NotFoundError):
            await port.get(body["_id"])

    async def test_a_direct_write_of_a_bad_document_is_refused(
        self, port: Documents, engine: Engine
    ) -> None:
        for change, _, _ in self.broken.values():
            with pytest.raises(Exception, match=r"breaks|failed validation"):
                await engine.insert(self.data_type, self.but(change))

    async def test_values_come_back_as_they_were(self, port: Documents) -> None:
        time = datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)
        values = {
            "null": None,
            "text": "Grüße, \U0001f40d \x01 'quoted' \"twice\" \\ 漢字",
            "whole": [0, -1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63)],
            "floats": [0.1, 1.0, -2.5, 1e16, 1.2345678901234567e17, 5e-324, 1.7e308],
            "times": {"at": time, "list": [time, datetime(1, 1, 1, tzinfo=UTC)]},
            "bools": [True, False],
            "empty": [{}, [], ""],
            "id": 5,
            "key": "own",
            "cls": None,
            "document_id": 1,
            "language": "Solidity",
            "": "empty name",
            "a b'\"\\": 1,
        }
        record = self.model.parse({**self.good(self.new_group()), "open": values, **values})
        await port.write([record])
        found = (await port.get(record.key)).body()
        assert found == record.body()
        kinds = [type(value) for value in found["open"]["floats"] + found["open"]["whole"]]
        assert kinds == [float] * 7 + [int] * 7
        assert (await port.write([record])).existing == 1

    async def test_dates_are_cut_to_milliseconds_in_utc(self, port: Documents) -> None:
        time = datetime(2024, 1, 1, 1, 2, 3, 456_999, tzinfo=timezone(timedelta(hours=-5)))
        record = self.model.parse({**self.good(self.new_group()), "open": {"at": time}})
        await port.write([record])
        assert (await port.get(record.key)).body()["open"]["at"] == datetime(
            2024, 1, 1, 6, 2, 3, 456_000, tzinfo=UTC
        )

    async def test_the_order_of_fields_is_no_difference(self, port: Documents) -> None:
        body = {**self.good(self.new_group()), "open": {"a": 1, "b": {"c": 2, "d": 3}}}
        await port.write([self.model.parse(body)])
        turned = {**body, "open": {"b": {"d": 3, "c": 2}, "a": 1}}
        assert (await port.write([self.model.parse(turned)])).existing == 1

    async def test_a_batch_counts_new_existing_and_replaced(self, port: Documents) -> None:
        group = self.new_group()
        first, second, third = self.samples(3, group=group)
        await port.write([first, second])
        written = await port.write([first, self.changed(second), third, third])
        assert (written.new, written.existing, written.replaced) == (1, 2, 1)

    async def test_native_shows_the_stored_document(self, port: Documents) -> None:
        [record] = self.samples(1, group=self.new_group())
        await port.write([record])
        assert (await port.native(record.key))["_id"] == record.key
        with pytest.raises(NotFoundError):
            await port.native("nobody\x00")

    async def open_records(self, port: Documents, values: Sequence[Any]) -> str:
        """Store documents whose `open` has these values; answers their group."""
        group = self.new_group()
        written = await port.write(
            [
                self.model.parse({**self.good(group, number), "open": value, "number": number})
                for number, value in enumerate(values)
            ]
        )
        assert written.new == len(values)
        return group

    async def numbers(self, port: Documents, group: str, *filters: Filter) -> list[int]:
        """Which of a group's documents satisfy all filters."""
        mine = parse_condition(self.model, f"{self.group}={group}")
        page = await port.find(Query(filters=(mine, *filters)))
        return sorted(record.body()["number"] for record in page)

    async def test_undeclared_paths_compare_like_with_like(self, port: Documents) -> None:
        time = datetime(2024, 5, 1, tzinfo=UTC)
        group = await self.open_records(
            port,
            [
                *({"a": value} for value in (5, "5", 40.5, True, "true", time)),
                *({"a": value} for value in ([1, 40.5, "x"], None)),
                *({}, {"b": 5}, [{"a": 5}, {"a": 6}]),
            ],
        )

        async def of(text: str) -> list[int]:
            return await self.numbers(port, group, parse_condition(self.model, text))

        assert await of("open.a=5") == [0, 1, 10]
        assert await of("open.a!=5") == [2, 3, 4, 5, 6, 7, 8, 9]
        assert await of("open.a>5") == [2, 4, 6, 10]
        assert await of("open.a=true") == [3, 4]
        assert await of("open.a=2024-05-01T00:00:00Z") == [5]
        assert await of("open.a>=2024-04-01T00:00:00Z") == [1, 4, 5, 6]
        assert await of("open.a^=tr") == [4]
        assert await of("open.b!=") == [9]
        assert await of("open.a=") == [7, 8, 9]
        assert await self.numbers(port, group, Filter("open.a", "eq", 40.5)) == [2, 6]
        assert await self.numbers(port, group, Filter("open.a", "lt", 40)) == [0, 6, 10]
        assert await self.numbers(port, group, Filter("open.a", "gt", time)) == []

    async def test_undeclared_values_are_listed_by_type(self, port: Documents) -> None:
        time = datetime(2024, 5, 1, tzinfo=UTC)
        values = ["b", "a", 2, 1.5, True, time, None, ["a", "c"], "a"]
        group = await self.open_records(port, values)
        assert await port.distinct(self.of_group(group), "open") == [
            *(True, 1.5, 2, "a", "b", "c", time)
        ]

    async def test_membership_asks_for_any_of_some_values(self, port: Documents) -> None:
        group = await self.open_records(port, ["a", "b", 5, "5", ["a", "c"], None, {}])

        async def of(*values: Any) -> list[int]:
            return await self.numbers(port, group, Filter("open", "in", values))

        assert await of("a", "b") == [0, 1, 4]
        assert await of("c") == [4]
        assert await of("5", "nothing") == [2, 3]
        asked = parse_condition(self.model, "open:=a,5")
        assert await self.numbers(port, group, asked) == [0, 2, 3, 4]
        for wrong in ((), "a", None, [None], ["x"] * 1001):
            with pytest.raises(UsageError):
                await port.count(Query(filters=(Filter("open", "in", wrong),)))

    async def test_membership_holds_for_declared_fields(self, port: Documents) -> None:
        group = self.new_group()
        records = self.samples(3, group=group)
        await port.write(records)
        key = Filter("_id", "in", [records[0].key, records[2].key, "nobody"])
        assert {r.key for r in await port.find(Query(filters=(key,)))} == {
            *(records[0].key, records[2].key)
        }
        mine = Filter(self.group, "in", [group, "another"])
        assert await port.count(Query(filters=(mine,))) == 3

    async def test_a_projection_has_what_was_asked_for_alone(self, port: Documents) -> None:
        time = datetime(2024, 5, 1, tzinfo=UTC)
        values = [{"a": {"b": time, "c": 2**53 + 1}, "n": None}, [{"a": 1}], "text"]
        group = await self.open_records(port, values)
        query = self.of_group(group, limit=2)
        fields = ["open.a.b", "number", "open.n", "open.a", "nothing", "open.0"]
        first = await port.project(query, fields)
        rest = await port.project(replace(query, after=first.next), fields)
        rows = {row["number"]: row for row in (*first, *rest)}
        assert rows[0]["_id"]
        assert {name: value for name, value in rows[0].items() if name != "_id"} == {
            "open.a.b": time,
            "number": 0,
            "open.n": None,
            "open.a": {"b": time, "c": 2**53 + 1},
        }
        assert rows[1].keys() == rows[2].keys() == {"_id", "number"}
        for wrong in ("$where", "open..a", "a\x00"):
            with pytest.raises(UsageError):
                await port.project(query, [wrong])
        assert [row.keys() for row in await port.project(query, ["_id"])] == [{"_id"}] * 2

    async def test_hostile_names_and_values_are_only_data(self, port: Documents) -> None:
        body = {"a'b": {'c"d\\': "x' OR 1=1 --"}}
        group = await self.open_records(port, [body, {"a": "$where"}])
        hostile = Filter("open.a'b.c\"d\\", "eq", "x' OR 1=1 --")
        assert await self.numbers(port, group, hostile) == [0]
        assert await self.numbers(port, group, Filter("open.a", "eq", "$where")) == [1]
        assert await self.numbers(port, group, Filter("open.a", "prefix", ".*")) == []
        assert await port.distinct(self.of_group(group), "open.a'b.c\"d\\") == ["x' OR 1=1 --"]

    async def test_paths_and_values_that_cannot_be_are_refused(self, port: Documents) -> None:
        impossible = [
            Filter("$where", "eq", "1"),
            Filter("open.$gt", "eq", 1),
            Filter("open..a", "eq", 1),
            Filter("open.a\x00", "eq", 1),
            Filter("open", "eq", "\x00"),
            Filter("open", "eq", {"$gt": ""}),
            Filter("open", "eq", [1]),
            Filter("open", "gt", None),
            Filter("open", "eq", 2**63),
            Filter("_id", "eq", {"$ne": None}),
        ]
        for item in impossible:
            with pytest.raises(UsageError):
                await port.count(Query(filters=(item,)))
        with pytest.raises(UsageError, match="no number"):
            await port.sum(Query(), "open")

    async def test_the_id_is_a_field(self, port: Documents) -> None:
        [record] = self.samples(1, group=self.new_group())
        await port.write([record])
        for field in ("_id", "document_id"):
            assert await port.count(Query(filters=(Filter(field, "eq", record.key),))) == 1
