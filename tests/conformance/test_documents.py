"""The documents port on every engine, for every collection and one of the tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from neo_polystore.errors import NotFoundError, UnsupportedError, UsageError
from neo_polystore.ports.documents import Documents
from neo_polystore.records.query import Filter, Query, parse_condition
from tests.conformance.documents import DocumentsSuite, Engine, each_engine
from tests.conftest import MakeDatabase

START = datetime(2024, 2, 29, 23, 59, 58, 123_000, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["jsonb", "mongo"])
async def engine(
    request: pytest.FixtureRequest, make_database: MakeDatabase
) -> AsyncIterator[Engine]:
    """Each engine that serves documents."""
    async for engine in each_engine(request, make_database):
        yield engine


class TestAuditLogs(DocumentsSuite):
    """Audit entries: given keys, a time, an action out of five."""

    data_type = "audit_logs"
    group = "user_id"
    ordered = "timestamp"
    broken: ClassVar = {
        "missing": ({"action": None}, "action", "breaks required"),
        "enum": ({"action": "PURGE"}, "action", 'breaks enum ["CREATE","READ"'),
        "type": ({"user_id": 5}, "user_id", 'breaks bsonType "string" of audit_logs: got int 5'),
        "date": ({"timestamp": "2024-01-01"}, "timestamp", 'breaks bsonType "date"'),
        "object": ({"changes": []}, "changes", 'breaks bsonType "object"'),
        "bool": ({"success": "yes"}, "success", 'breaks bsonType "bool"'),
    }

    def good(self, group: str, number: int = 0) -> dict[str, Any]:
        return {
            "_id": f"{group}:{number}",
            "timestamp": START + timedelta(milliseconds=number),
            "user_id": group,
            "action": "READ",
            "resource": f"Wallet {number}",
            "changes": {"before": {"limit": number}, "at": START},
            "success": number % 2 == 0,
        }

    async def test_an_entry_without_id_gets_one(self, port: Documents) -> None:
        body = self.good(self.new_group())
        del body["_id"]
        record = self.model.parse(body)
        assert (await port.write([record])).new == 1
        assert (await port.get(record.key)).body()["user_id"] == body["user_id"]

    async def test_times_bound_half_open(self, port: Documents) -> None:
        group = self.new_group()
        await port.write(self.samples(5, group=group))
        query = self.of_group(
            group, since=START + timedelta(milliseconds=1), until=START + timedelta(milliseconds=3)
        )
        assert await port.count(query) == 2

    async def test_a_bound_of_microseconds_is_cut_like_a_date(self, port: Documents) -> None:
        group = self.new_group()
        time = START + timedelta(microseconds=400)
        await port.write([self.model.parse({**self.good(group), "timestamp": time})])
        assert await port.count(self.of_group(group, since=time)) == 1
        assert await port.count(self.of_group(group, until=time)) == 0

    async def test_words_are_found_whole_and_in_any_case(self, port: Documents) -> None:
        group = self.new_group()
        names = ["Wallet/main", "wallets", "GRÖSSE wallet", "small_wallet", "a.wallet.b"]
        await port.write(
            [
                self.model.parse({**self.good(group, number), "resource": name})
                for number, name in enumerate(names)
            ]
        )
        assert await port.count(self.of_group(group, text="WALLET")) == 3
        assert await port.count(self.of_group(group, text="wallet grösse")) == 1
        assert await port.count(self.of_group(group, text="wall")) == 0

    async def test_declared_fields_compare_by_their_type(self, port: Documents) -> None:
        group = self.new_group()
        await port.write(self.samples(4, group=group))
        for condition, count in (
            ("success=true", 2),
            ("success!=true", 2),
            ("action=READ", 4),
            ("resource^=Wallet", 4),
            ("resource_id=", 4),
            ("changes!=", 4),
            ("changes.before.limit>=2", 2),
            ("changes.at>=2024-01-01T00:00:00Z", 4),
            (f"timestamp>{START.isoformat()}", 3),
        ):
            query = self.of_group(group)
            item = parse_condition(self.model, condition)
            found = await port.count(Query(filters=(*query.filters, item)))
            assert (condition, found) == (condition, count)


class TestContractMetadata(DocumentsSuite):
    """Contract metadata: keyed by network and address."""

    data_type = "contract_metadata"
    group = "network"
    ordered = "address"
    broken: ClassVar = {
        "missing": ({"abi": None}, "abi", "breaks required"),
        "abi": ({"abi": {}}, "abi", 'breaks bsonType "array"'),
        "documentation": ({"documentation": "x"}, "documentation", 'breaks bsonType "object"'),
        "source": ({"source_code": 1}, "source_code", 'breaks bsonType "string"'),
    }

    def good(self, group: str, number: int = 0) -> dict[str, Any]:
        address = f"0x{number:040x}"
        return {
            "_id": f"{group}:{address}",
            "address": address,
            "network": group,
            "name": f"Token {number}",
            "abi": [{"type": "function", "name": "transfer", "inputs": [{"type": "address"}]}],
            "tags": ["erc20", f"n{number}"],
            "audit_reports": [{"by": "A", "score": number}, {"by": "B"}],
        }

    async def test_the_key_is_made_from_network_and_address(self, port: Documents) -> None:
        body = {**self.good("eip155:1"), "address": f"abi:{self.new_group()}"}
        del body["_id"]
        record = self.model.parse(body)
        await port.write([record])
        assert record.key == f"eip155%3A1:{body['address']}"
        assert (await port.get(record.key)).body()["network"] == "eip155:1"

    async def test_another_id_than_the_key_is_rejected(self, port: Documents) -> None:
        rejection = await self.refused(port, {**self.good(self.new_group()), "_id": "other"})
        assert (rejection.field, "made from network, address" in rejection.reason) == ("_id", True)

    async def test_a_direct_write_of_a_taken_address_is_refused(
        self, port: Documents, engine: Engine
    ) -> None:
        [record] = self.samples(1, group=self.new_group())
        await port.write([record])
        with pytest.raises(Exception, match=r"duplicate key"):
            await engine.insert(self.data_type, {**record.body(), "_id": "another"})

    async def test_tags_are_asked_by_item(self, port: Documents) -> None:
        group = self.new_group()
        await port.write(self.samples(3, group=group))
        for condition, count in (
            ("tags=erc20", 3),
            ("tags=n1", 1),
            ("tags!=n1", 2),
            ("tags^=erc", 3),
            ("audit_reports.by=B", 3),
            ("audit_reports.score>=1", 2),
            ("abi.inputs.type=address", 3),
        ):
            items = (*self.of_group(group).filters, parse_condition(self.model, condition))
            assert (condition, await port.count(Query(filters=items))) == (condition, count)
        assert await port.distinct(self.of_group(group), "tags") == ["erc20", "n0", "n1", "n2"]

    async def test_names_are_searched_by_word(self, port: Documents) -> None:
        group = self.new_group()
        await port.write(self.samples(3, group=group))
        assert await port.count(self.of_group(group, text="TOKEN")) == 3
        assert await port.count(self.of_group(group, text="2 token")) == 1

    async def test_every_version_is_kept_in_order(self, port: Documents) -> None:
        body = self.good(self.new_group())
        states = [self.model.parse({**body, "name": f"Token {number}"}) for number in range(4)]
        for state in [*states, states[-1]]:
            await port.write([state])
        versions = await port.versions(states[0].key)
        assert [version.number for version in versions] == [1, 2, 3, 4]
        assert [version.document for version in versions] == states
        replaced = [version.replaced_at for version in versions]
        assert replaced[3] is None
        times = [time for time in replaced if time is not None]
        assert times == sorted(times)
        assert len(times) == 3

    async def test_what_comes_back_is_a_version_of_its_own(self, port: Documents) -> None:
        body = self.good(self.new_group())
        one, two = (self.model.parse({**body, "name": name}) for name in ("one", "two"))
        for state in (one, two, one):
            await port.write([state])
        assert [v.document for v in await port.versions(one.key)] == [one, two, one]

    async def test_no_version_is_lost_between_writers(self, port: Documents) -> None:
        body = self.good(self.new_group())
        states = [self.model.parse({**body, "name": f"Token {number}"}) for number in range(12)]
        await asyncio.gather(*(port.write([state]) for state in states))
        versions = await port.versions(states[0].key)
        assert sorted(v.document.body()["name"] for v in versions) == sorted(
            state.body()["name"] for state in states
        )

    async def test_versions_of_nothing_are_not_found(self, port: Documents) -> None:
        with pytest.raises(NotFoundError):
            await port.versions("nobody")

    async def test_the_count_of_versions_is_the_stores(self, port: Documents) -> None:
        rejection = await self.refused(port, {**self.good(self.new_group()), "_version": 7})
        assert (rejection.field, "the store counts" in rejection.reason) == ("_version", True)

    async def test_the_abi_is_found_by_what_it_says(self, port: Documents) -> None:
        group = self.new_group()
        await port.write(self.samples(2, group=group))
        for condition, count in (
            ("functions=transfer(address)", 2),
            ("members=transfer", 2),
            ("selectors=0x1a695230", 2),
            ("selectors=0xa9059cbb", 0),
            ("topics=0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef", 0),
        ):
            items = (*self.of_group(group).filters, parse_condition(self.model, condition))
            assert (condition, await port.count(Query(filters=items))) == (condition, count)


class TestReadings(DocumentsSuite):
    """A collection with every type, nested rules, and a unique index that is not its key."""

    data_type = "readings"
    group = "station"
    ordered = "level"
    summable = "level"
    broken: ClassVar = {
        "pattern": ({"station": "Über"}, "station", "breaks pattern"),
        "length": ({"station": "x" * 41}, "station", "breaks maxLength 40"),
        "minimum": ({"level": -1}, "level", "breaks minimum 0"),
        "whole": ({"level": 1.5}, "level", 'breaks bsonType "long"'),
        "int32": ({"small": 2**31}, "small", 'breaks bsonType "int"'),
        "exclusive": ({"ratio": 1.0}, "ratio", "breaks maximum 1"),
        "bool": ({"any_number": True}, "any_number", 'breaks bsonType "number"'),
        "enum": ({"grade": "fair"}, "grade", "breaks enum"),
        "unique": ({"labels": ["a", "a"]}, "labels", "breaks uniqueItems true"),
        "many": ({"labels": list("abcdef")}, "labels", "breaks maxItems 5"),
        "items": ({"labels": ["a", 1]}, "labels.1", 'breaks bsonType "string"'),
        "inner": ({"visits": [{"by": "A"}, {}]}, "visits.1.by", "breaks required"),
        "nested": ({"device": {"model": 1}}, "device.model", 'breaks bsonType "string"'),
        "mixed": ({"device": {"model": "m", "serial": 1.5}}, "device.serial", "breaks bsonType"),
        "rest": ({"device": {"model": "m", "more": 1}}, "device.more", "breaks bsonType"),
        "any": ({"either": 5}, "either", "breaks anyOf"),
        "not": ({"never": "x"}, "never", "breaks not"),
    }

    def good(self, group: str, number: int = 0) -> dict[str, Any]:
        return {
            "_id": f"{group}-{number}",
            "station": group,
            "taken_at": START + timedelta(seconds=number),
            "level": 2**62 + number,
            "small": number - 1,
            "ratio": number / 100,
            "any_number": 1.5 if number else 2,
            "valid": True,
            "grade": "good",
            "labels": ["x", f"l{number}"],
            "visits": [{"by": "A", "at": START}, {"by": "B", "at": START + timedelta(days=number)}],
            "device": {"model": "m", "built": START, "serial": number, "extra": None},
            "remark": None,
            "either": "text",
            "never": number,
        }

    async def test_a_null_that_is_allowed_is_kept(self, port: Documents) -> None:
        [record] = self.samples(1, group=self.new_group())
        await port.write([record])
        assert (await port.get(record.key)).body()["remark"] is None
        assert "remark" in (await port.get(record.key)).body()

    async def test_a_taken_unique_value_is_rejected_by_name(self, port: Documents) -> None:
        group = self.new_group()
        first, second, third = self.samples(3, group=group)
        await port.write([first])
        twin = self.model.parse({**first.body(), "_id": f"{group}-twin"})
        written = await port.write([second, twin, third])
        assert (written.new, len(written.rejected)) == (2, 1)
        rejection = written.rejected[0]
        assert (rejection.index, rejection.field) == (1, "station, taken_at")
        assert rejection.reason == (
            "breaks unique index station_1_taken_at_1 of readings: another document has these"
        )

    async def test_sums_of_doubles_are_numbers(self, port: Documents) -> None:
        group = self.new_group()
        await port.write(self.samples(4, group=group))
        assert await port.sum(self.of_group(group), "ratio") == pytest.approx(0.06)
        assert await port.sum(self.of_group(group), "small") == 2
        assert await port.sum(self.of_group(group), "any_number") == 6.5

    async def test_nested_dates_and_numbers_compare_by_type(self, port: Documents) -> None:
        group = self.new_group()
        await port.write(self.samples(12, group=group))
        day = (START + timedelta(days=3)).isoformat()
        for condition, count in (
            ("small>=9", 2),
            ("ratio<0.1", 10),
            ("level>=4611686018427387910", 6),
            ("any_number>1.5", 1),
            ("device.built>2024-01-01", 12),
            ("device.built=2024-01-01", 0),
            ("device.serial>=9", 3),
            (f"visits.at>={day}", 9),
            ("visits.by=A", 12),
            ("visits.by=C", 0),
            ("labels=l3", 1),
            ("either=text", 12),
            ("remark=", 12),
        ):
            items = (*self.of_group(group).filters, parse_condition(self.model, condition))
            assert (condition, await port.count(Query(filters=items))) == (condition, count)

    async def test_a_value_of_the_wrong_type_is_refused(self, port: Documents) -> None:
        for item in (
            Filter("small", "eq", "many"),
            Filter("small", "eq", True),
            Filter("station", "eq", 5),
            Filter("taken_at", "gt", "soon"),
            Filter("valid", "eq", 1),
            Filter("level", "prefix", "4"),
            Filter("device.built", "eq", 5),
        ):
            with pytest.raises(UsageError):
                await port.count(Query(filters=(item,)))

    async def test_a_collection_without_versions_says_so(self, port: Documents) -> None:
        [record] = self.samples(1, group=self.new_group())
        await port.write([record])
        with pytest.raises(UnsupportedError, match="keep no versions"):
            await port.versions(record.key)

    async def test_order_is_by_time_too(self, port: Documents) -> None:
        group = self.new_group()
        await port.write(self.samples(5, group=group))
        page = await port.find(self.of_group(group, order="taken_at", descending=True, limit=2))
        rest = await port.find(
            self.of_group(group, order="taken_at", descending=True, after=page.next)
        )
        assert [r.key[-1] for r in (*page, *rest)] == ["4", "3", "2", "1", "0"]
