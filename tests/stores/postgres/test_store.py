"""The store beside its ports: testimony, large and broken batches."""

from __future__ import annotations

import secrets
from uuid import uuid4

import pytest

from neo_polystore.ids import uuid7
from neo_polystore.records.query import Query
from neo_polystore.records.scope import SYSTEM
from neo_polystore.records.sealed import SealedBlob
from neo_polystore.records.transactions import Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.stores.postgres import merge_rows, merge_send
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.chains import CHAIN, address, hash32, load_network


async def test_a_witness_counts_the_keys_that_are_there(postgres: PostgresStore) -> None:
    await load_network(postgres)
    wallets = [Wallet(chain_id=CHAIN, address=address()) for _ in range(3)]
    await postgres.port("wallets").within(SYSTEM).write(wallets[:2])
    assert await postgres.witness("wallets", [wallet.key for wallet in wallets]) == 2


def test_every_served_data_type_has_its_port(postgres: PostgresStore) -> None:
    for data_type in postgres.serves:
        assert postgres.port(data_type).record.data_type == data_type
    with pytest.raises(KeyError):
        postgres.port("metrics")


@pytest.mark.parametrize("count", [20, 1500])
async def test_one_bad_record_never_stops_the_others(postgres: PostgresStore, count: int) -> None:
    enclave = uuid4().hex
    blobs = [
        SealedBlob(
            data_key=f"{enclave}{place}",
            enclave_id=enclave,
            policy="MRSIGNER",
            mac=secrets.token_hex(32),
            blob=b"x",
        )
        for place in range(count)
    ]
    blobs[3] = blobs[3].model_copy(update={"version": 2**40})
    blobs[7] = blobs[7].model_copy(update={"enclave_id": "nul \x00"})
    blobs[11] = blobs[11].model_copy(update={"owner": uuid7()})
    port = postgres.port("sealed").within(SYSTEM)
    written = await port.write(blobs)
    assert [rejection.index for rejection in written.rejected] == [3, 7, 11]
    assert written.new == count - 3
    assert await port.count(Query().where("enclave_id", enclave)) == count - 3


async def test_a_batch_of_many_chunks_is_one_transaction(
    postgres: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load_network(postgres)
    monkeypatch.setattr(merge_send, "INLINE", 10)
    monkeypatch.setattr(merge_rows, "CHUNK", 30)
    sender = address()
    records = [
        Transaction(chain_id=CHAIN, hash=hash32(), from_address=sender, value=place)
        for place in range(100)
    ]
    port = postgres.port("transactions")
    written = await port.write([*records, *records[:50]])
    assert (written.new, written.existing) == (100, 50)
    async with postgres._database.acquire("test") as connection:
        times = await connection.fetch(
            "SELECT DISTINCT created_at FROM blockchain.transactions WHERE from_address = $1",
            sender,
        )
    assert len(times) == 1
