"""What every contract store does."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from neo_polystore.ports.records import Records
from neo_polystore.records.contracts import Contract
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import CHAIN, UNKNOWN_CHAIN, address, load_network
from tests.conformance.records import RecordsSuite


class TestContracts(RecordsSuite):
    """Mutable, global."""

    group = "contract_type"
    ordered = "address"
    mutable = True

    @pytest.fixture(params=["postgres"])
    async def port(self, postgres: PostgresStore) -> Records[Contract]:
        await load_network(postgres)
        contracts: Records[Contract] = postgres.port("contracts")
        return contracts

    def samples(self, count: int, *, group: str) -> list[Contract]:
        return [
            Contract(chain_id=CHAIN, address=address(), contract_type=group) for _ in range(count)
        ]

    def changed(self, record: Contract) -> Contract:
        return record.model_copy(update={"verified": True, "abi": [{"type": "fallback"}]})

    def new_group(self) -> str:
        return uuid4().hex

    async def test_every_field_is_read_back(self, port: Records[Contract]) -> None:
        full = Contract(
            chain_id=CHAIN,
            address=address(),
            name="Wrapped Ether",
            symbol="WETH",
            contract_type="erc20",
            abi=[{"type": "function", "name": "f", "n": 2**255, "x": [None, 0.1, "ü"]}],
            bytecode="0x" + "60" * 24_576,
            source_code="contract C {}\n" * 1000,
            compiler_version="0.8.20",
            optimization_enabled=False,
            verified=True,
            deployed_by=address(),
            deployed_at=datetime(2017, 12, 12, 11, 17, 35, tzinfo=UTC),
        )
        await port.write([full])
        assert await port.get(full.key) == full
        assert (await port.write([full])).existing == 1

    async def test_an_unknown_chain_is_rejected_alone(self, port: Records[Contract]) -> None:
        [good, bad] = self.samples(2, group=self.new_group())
        written = await port.write([bad.model_copy(update={"chain_id": UNKNOWN_CHAIN}), good])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(0, "chain_id")]

    async def test_an_abi_that_cannot_be_stored_is_rejected_alone(
        self, port: Records[Contract]
    ) -> None:
        records = self.samples(5, group=self.new_group())
        records[2] = records[2].model_copy(update={"abi": [{"name": "nul \x00"}]})
        written = await port.write(records)
        assert (written.new, [r.index for r in written.rejected]) == (4, [2])
