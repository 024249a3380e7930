"""What every store of sealed blobs does."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from uuid import uuid4

import pytest

from neo_polystore.errors import NotFoundError, TenantRequiredError
from neo_polystore.ids import uuid7
from neo_polystore.ports.sealed import Sealed
from neo_polystore.records.query import Query
from neo_polystore.records.scope import NOBODY, SYSTEM
from neo_polystore.records.sealed import SealedBlob
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.records import RecordsSuite


def sealed(**values: Any) -> SealedBlob:
    """A blob under a key of its own."""
    defaults: dict[str, Any] = {
        "data_key": uuid4().hex,
        "enclave_id": "enclave-1",
        "policy": "MRSIGNER",
        "mac": secrets.token_hex(32),
        "blob": secrets.token_bytes(64),
    }
    return SealedBlob(**{**defaults, **values})


class TestSealed(RecordsSuite):
    """Mutable, owned by a tenant, versioned."""

    group = "enclave_id"
    ordered = "data_key"
    mutable = True

    @pytest.fixture(params=["postgres"])
    async def port(self, postgres: PostgresStore) -> Sealed:
        port: Sealed = postgres.port("sealed")
        return port.within(SYSTEM)

    def samples(self, count: int, *, group: str) -> list[SealedBlob]:
        return [sealed(enclave_id=group) for _ in range(count)]

    def changed(self, record: SealedBlob) -> SealedBlob:
        return record.model_copy(update={"blob": b"other", "mac": "0" * 64})

    def new_group(self) -> str:
        return uuid4().hex

    def comparable(self, record: SealedBlob) -> SealedBlob:
        return record.model_copy(update={"version": None})

    @pytest.mark.parametrize("blob", [b"", b"\x00", bytes(range(256)) * 4096])
    async def test_bytes_come_back_as_they_went_in(self, port: Sealed, blob: bytes) -> None:
        record = sealed(blob=blob)
        await port.write([record])
        stored = await port.get(record.key)
        assert (stored.blob, stored.mac) == (blob, record.mac)

    async def test_a_version_counts_changes_and_no_repetitions(self, port: Sealed) -> None:
        record = sealed()
        await port.write([record])
        assert (await port.get(record.key)).version == 1
        await port.write([record])
        assert (await port.get(record.key)).version == 1
        await port.write([self.changed(record)])
        assert (await port.get(record.key)).version == 2

    async def test_a_stale_version_is_rejected(self, port: Sealed) -> None:
        record = sealed()
        await port.write([record])
        first = await port.get(record.key)
        await port.write([first.model_copy(update={"blob": b"second"})])
        written = await port.write([first.model_copy(update={"blob": b"late"})])
        assert [(r.index, r.field) for r in written.rejected] == [(0, "version")]
        assert (await port.get(record.key)).blob == b"second"

    async def test_of_writers_with_the_same_version_one_wins(self, port: Sealed) -> None:
        record = sealed()
        await port.write([record])
        read = await port.get(record.key)
        written = await asyncio.gather(
            *(port.write([read.model_copy(update={"blob": bytes([n])})]) for n in range(8))
        )
        assert sum(each.replaced for each in written) == 1
        assert sum(len(each.rejected) for each in written) == 7
        assert (await port.get(record.key)).version == 2

    async def test_an_unknown_owner_is_rejected_alone(self, port: Sealed) -> None:
        written = await port.write([sealed(owner=uuid7()), sealed()])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(0, "owner")]

    async def test_a_deleted_blob_is_gone(self, port: Sealed) -> None:
        record = sealed()
        await port.write([record])
        await port.delete(record.key)
        with pytest.raises(NotFoundError):
            await port.get(record.key)
        with pytest.raises(NotFoundError):
            await port.delete(record.key)

    async def test_without_a_tenant_nothing_is_written_deleted_or_seen(self, port: Sealed) -> None:
        record = sealed()
        await port.write([record])
        nobody = port.within(NOBODY)
        with pytest.raises(TenantRequiredError):
            await nobody.write([record])
        with pytest.raises(TenantRequiredError):
            await nobody.delete(record.key)
        assert await nobody.count(Query()) == 0
        with pytest.raises(NotFoundError):
            await nobody.get(record.key)

    async def test_a_data_key_may_hold_any_text(self, port: Sealed) -> None:
        record = sealed(data_key=f"a:b/c d\n{uuid4()} ü")
        await port.write([record])
        assert (await port.get(record.key)).data_key == record.data_key
