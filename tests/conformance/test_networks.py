"""What every network store does."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import uuid4

import pytest

from neo_polystore.ports.records import Records
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Query
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.records import RecordsSuite


def network(**values: Any) -> Network:
    """A network with a chain id and a name of its own."""
    chain_id = secrets.randbelow(2**62)
    defaults = {"chain_id": chain_id, "name": f"chain {chain_id}", "rpc_endpoint": "https://rpc"}
    return Network(**{**defaults, **values})


class TestNetworks(RecordsSuite):
    """Mutable, global."""

    group = "network_type"
    ordered = "chain_id"
    mutable = True

    @pytest.fixture(params=["postgres"])
    async def port(self, postgres: PostgresStore) -> Records[Network]:
        records: Records[Network] = postgres.port("networks")
        return records

    def samples(self, count: int, *, group: str) -> list[Network]:
        return [network(network_type=group) for _ in range(count)]

    def changed(self, record: Network) -> Network:
        return record.model_copy(update={"rpc_endpoint": "https://other", "is_active": False})

    def new_group(self) -> str:
        return uuid4().hex

    async def test_every_field_is_read_back(self, port: Records[Network]) -> None:
        full = network(
            ws_endpoint="wss://ws",
            explorer_url="https://scan",
            is_testnet=True,
            is_active=False,
            rpc_endpoint="https://rpc/${API_KEY}",
        )
        await port.write([full])
        assert await port.get(full.key) == full

    async def test_a_taken_name_is_rejected_and_the_rest_stored(
        self, port: Records[Network]
    ) -> None:
        first, other = network(), network()
        await port.write([first])
        written = await port.write([network(name=first.name), other])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(0, "name")]
        assert await port.get(other.key) == other

    async def test_the_same_new_name_twice_in_a_batch_is_stored_once(
        self, port: Records[Network]
    ) -> None:
        first = network()
        written = await port.write([first, network(name=first.name)])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(1, "name")]

    async def test_an_exchange_of_names_in_one_batch_stops_nobody_else(
        self, port: Records[Network]
    ) -> None:
        left, right, other = network(), network(), network()
        await port.write([left, right])
        exchange = [
            left.model_copy(update={"name": right.name}),
            right.model_copy(update={"name": left.name}),
        ]
        written = await port.write([*exchange, other])
        assert written.new == 1
        assert {rejection.field for rejection in written.rejected} == {"name"}
        assert await port.get(left.key) == left

    async def test_where_the_last_of_a_key_is_refused_the_one_before_stands(
        self, port: Records[Network]
    ) -> None:
        taken, good = network(), network()
        await port.write([taken])
        written = await port.write([good, good.model_copy(update={"name": taken.name})])
        assert (written.new, [r.index for r in written.rejected]) == (1, [1])
        assert await port.get(good.key) == good

    async def test_a_word_of_the_name_finds_it(self, port: Records[Network]) -> None:
        word = uuid4().hex
        await port.write([network(name=f"Test {word} Net"), network(name=f"{word}more")])
        assert await port.count(Query(text=word.upper())) == 1
