"""What every transaction store does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from neo_polystore.ports.transactions import Transactions
from neo_polystore.records.base import MAX_AMOUNT
from neo_polystore.records.query import Filter, Query
from neo_polystore.records.transactions import Receipt, Transaction
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import CHAIN, UNKNOWN_CHAIN, address, hash32, load_network
from tests.conformance.records import RecordsSuite


def transaction(**values: Any) -> Transaction:
    """A transaction with a hash of its own."""
    defaults: dict[str, Any] = {"chain_id": CHAIN, "hash": hash32(), "from_address": address()}
    return Transaction(**{**defaults, **values})


class TestTransactions(RecordsSuite):
    """Immutable, global."""

    group = "from_address"
    ordered = "value"
    summable = "value"

    @pytest.fixture(params=["postgres"])
    async def port(self, postgres: PostgresStore) -> Transactions:
        await load_network(postgres)
        transactions: Transactions = postgres.port("transactions")
        return transactions

    def samples(self, count: int, *, group: str) -> list[Transaction]:
        return [transaction(from_address=group, value=2**200 + place) for place in range(count)]

    def new_group(self) -> str:
        return address()

    async def test_every_field_is_read_back(self, port: Transactions) -> None:
        full = transaction(
            to_address=address(),
            value=MAX_AMOUNT,
            gas_price=MAX_AMOUNT,
            gas_limit=2**63 - 1,
            gas_used=21000,
            nonce=0,
            input_data="0x" + "ab" * 40_000,
            status="confirmed",
            block_number=46147,
            block_timestamp=datetime(2015, 8, 7, 3, 30, 33, tzinfo=UTC),
            confirmation_count=2**31 - 1,
        )
        await port.write([full])
        assert await port.get(full.key) == full

    async def test_an_absent_price_stays_absent(self, port: Transactions) -> None:
        bare = transaction()
        await port.write([bare])
        assert await port.get(bare.key) == bare

    async def test_another_value_keeps_the_stored_one(self, port: Transactions) -> None:
        first = transaction(value=1)
        await port.write([first])
        written = await port.write([first.model_copy(update={"value": 2})])
        assert (written.existing, written.replaced) == (1, 0)
        assert (await port.get(first.key)).value == 1

    async def test_an_unknown_chain_is_rejected_alone(self, port: Transactions) -> None:
        good = transaction()
        written = await port.write([transaction(chain_id=UNKNOWN_CHAIN), good])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(0, "chain_id")]
        assert await port.get(good.key) == good

    @pytest.mark.parametrize("count", [100, 3000])
    async def test_a_batch_is_counted_record_by_record(
        self, port: Transactions, count: int
    ) -> None:
        group = self.new_group()
        records = self.samples(count, group=group)
        await port.write(records[: count // 2])
        bad = transaction(chain_id=UNKNOWN_CHAIN)
        written = await port.write([*records, bad, records[-1]])
        assert (written.new, written.existing) == (count - count // 2, count // 2 + 1)
        assert [r.index for r in written.rejected] == [count]
        assert await port.sum(self.of_group(group), "value") == sum(r.value for r in records)

    async def test_the_last_of_a_key_in_a_batch_stands(self, port: Transactions) -> None:
        first = transaction(value=1)
        last = first.model_copy(update={"value": 2})
        written = await port.write([first, last])
        assert (written.new, written.replaced) == (1, 1)
        assert (await port.get(first.key)).value == 2

    async def test_writers_of_the_same_batch_at_once_store_it_once(
        self, port: Transactions
    ) -> None:
        records = self.samples(300, group=self.new_group())
        batches = (records, records[::-1], records[100:] + records[:100])
        written = await asyncio.gather(*(port.write(batch) for batch in batches))
        assert sum(each.new for each in written) == 300
        assert sum(each.existing for each in written) == 600

    async def test_time_selects_by_block(self, port: Transactions) -> None:
        group = self.new_group()
        start = datetime(2020, 1, 1, tzinfo=UTC)
        times = [start + timedelta(hours=hour) for hour in range(4)]
        await port.write([transaction(from_address=group, block_timestamp=t) for t in times])
        query = self.of_group(group, since=times[1], until=times[3])
        found = await port.find(query)
        assert sorted(t.block_timestamp for t in found if t.block_timestamp) == times[1:3]

    async def test_an_absent_recipient_can_be_asked_for(self, port: Transactions) -> None:
        group = self.new_group()
        await port.write([transaction(from_address=group), transaction(to_address=group)])
        creations = Query(filters=(Filter("to_address", "eq", None),)).where("from_address", group)
        assert await port.count(creations) == 1

    async def test_a_hash_is_found_as_a_condition(self, port: Transactions) -> None:
        record = transaction()
        await port.write([record])
        assert (await port.find(Query().where("hash", record.hash))).records == [record]

    async def test_pages_over_a_whole_chain_visit_a_record_once(self, port: Transactions) -> None:
        records = self.samples(30, group=self.new_group())
        await port.write(records)
        seen: list[str] = []
        query = Query(limit=7).where("chain_id", CHAIN)
        page = await port.find(query)
        seen += [record.key for record in page]
        while page.next:
            page = await port.find(Query(filters=query.filters, limit=1000, after=page.next))
            seen += [record.key for record in page]
        assert len(seen) == len(set(seen))
        assert set(seen) >= {record.key for record in records}

    @pytest.mark.parametrize(
        ("status", "expected"), [(0, "failed"), (1, "confirmed"), (None, "pending")]
    )
    async def test_a_receipt_sets_gas_and_status(
        self, port: Transactions, status: Any, expected: str
    ) -> None:
        record = transaction()
        await port.write([record])
        receipt = Receipt(
            chain_id=CHAIN, transaction_hash=record.hash, gas_used=21000, status=status
        )
        written = await port.apply_receipts([receipt])
        assert (written.new, written.existing, written.replaced) == (0, 0, 1)
        stored = await port.get(record.key)
        assert (stored.gas_used, stored.status) == (21000, expected)

    async def test_a_receipt_applied_again_changes_nothing(self, port: Transactions) -> None:
        record = transaction()
        await port.write([record])
        receipt = Receipt(chain_id=CHAIN, transaction_hash=record.hash, gas_used=5, status=1)
        await port.apply_receipts([receipt])
        written = await port.apply_receipts([receipt, receipt])
        assert (written.existing, written.replaced) == (2, 0)

    async def test_a_receipt_of_no_transaction_is_rejected_alone(self, port: Transactions) -> None:
        record = transaction()
        await port.write([record])
        receipts = [
            Receipt(chain_id=CHAIN, transaction_hash=hash32(), gas_used=1),
            Receipt(chain_id=UNKNOWN_CHAIN, transaction_hash=record.hash, gas_used=1),
            Receipt(chain_id=CHAIN, transaction_hash=record.hash, gas_used=1, status=0),
        ]
        written = await port.apply_receipts(receipts)
        assert written.replaced == 1
        assert [(r.index, r.field) for r in written.rejected] == [
            (0, "transaction_hash"),
            (1, "transaction_hash"),
        ]
