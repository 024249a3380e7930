"""What every store of sealed blobs does."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from neo_polystore.errors import NotFoundError, TenantRequiredError, UsageError
from neo_polystore.ids import uuid7
from neo_polystore.ports.sealed import Blobs, Sealed, ServiceBlobs
from neo_polystore.records.query import Query
from neo_polystore.records.scope import NOBODY, SYSTEM, Scope
from neo_polystore.records.sealed import SealedBlob, ServiceBlob
from neo_polystore.stores.postgres.store import PostgresStore
from tests.conformance.records import RecordsSuite

PAY, OTHER = Scope(service="pay"), Scope(service="other")
KEPT = timedelta(days=90)


def fields(**values: Any) -> dict[str, Any]:
    """A blob's, under a key of its own."""
    return {
        "data_key": uuid4().hex,
        "enclave_id": "enclave-1",
        "policy": "MRSIGNER",
        "mac": secrets.token_hex(32),
        "blob": secrets.token_bytes(64),
        **values,
    }


class BlobsSuite(RecordsSuite):
    """Mutable, versioned, seen by their owner only; subclasses say how `blob` makes one."""

    group = "enclave_id"
    ordered = "data_key"
    mutable = True

    def blob(self, **values: Any) -> Any:
        """A blob under a key of its own."""
        raise NotImplementedError

    def samples(self, count: int, *, group: str) -> list[Any]:
        return [self.blob(enclave_id=group) for _ in range(count)]

    def changed(self, record: Any) -> Any:
        return record.model_copy(update={"blob": b"other", "mac": "0" * 64})

    def new_group(self) -> str:
        return uuid4().hex

    @pytest.mark.parametrize("blob", [b"", b"\x00", bytes(range(256)) * 4096])
    async def test_bytes_come_back_as_they_went_in(self, port: Blobs[Any], blob: bytes) -> None:
        record = self.blob(blob=blob)
        await port.write([record])
        stored = await port.get(record.key)
        assert (stored.blob, stored.mac) == (blob, record.mac)

    async def test_a_version_counts_changes_and_no_repetitions(self, port: Blobs[Any]) -> None:
        record = self.blob()
        await port.write([record])
        assert (await port.get(record.key)).version == 1
        await port.write([record])
        assert (await port.get(record.key)).version == 1
        await port.write([self.changed(record)])
        assert (await port.get(record.key)).version == 2

    async def test_a_stale_version_is_rejected(self, port: Blobs[Any]) -> None:
        record = self.blob()
        await port.write([record])
        first = await port.get(record.key)
        await port.write([first.model_copy(update={"blob": b"second"})])
        written = await port.write([first.model_copy(update={"blob": b"late"})])
        assert [(r.index, r.field) for r in written.rejected] == [(0, "version")]
        assert (await port.get(record.key)).blob == b"second"

    async def test_of_writers_with_the_same_version_one_wins(self, port: Blobs[Any]) -> None:
        record = self.blob()
        await port.write([record])
        read = await port.get(record.key)
        written = await asyncio.gather(
            *(port.write([read.model_copy(update={"blob": bytes([n])})]) for n in range(8))
        )
        assert sum(each.replaced for each in written) == 1
        assert sum(len(each.rejected) for each in written) == 7
        assert (await port.get(record.key)).version == 2

    async def test_a_deleted_blob_is_gone(self, port: Blobs[Any]) -> None:
        record = self.blob()
        await port.write([record])
        await port.delete(record.key)
        with pytest.raises(NotFoundError):
            await port.get(record.key)
        with pytest.raises(NotFoundError):
            await port.delete(record.key)

    async def test_a_data_key_may_hold_any_text(self, port: Blobs[Any]) -> None:
        record = self.blob(data_key=f"a:b/c d\n{uuid4()} ü")
        await port.write([record])
        assert (await port.get(record.key)).data_key == record.data_key


class TestSealed(BlobsSuite):
    """Owned by a tenant's users."""

    @pytest.fixture(params=["postgres"])
    async def port(self, postgres: PostgresStore) -> Sealed:
        port: Sealed = postgres.port("sealed")
        return port.within(SYSTEM)

    def blob(self, **values: Any) -> SealedBlob:
        return SealedBlob(**fields(**values))

    def comparable(self, record: SealedBlob) -> SealedBlob:
        return record.model_copy(update={"version": None})

    async def test_an_unknown_owner_is_rejected_alone(self, port: Sealed) -> None:
        written = await port.write([self.blob(owner=uuid7()), self.blob()])
        assert written.new == 1
        assert [(r.index, r.field) for r in written.rejected] == [(0, "owner")]

    async def test_without_a_tenant_nothing_is_written_deleted_or_seen(self, port: Sealed) -> None:
        record = self.blob()
        await port.write([record])
        nobody = port.within(NOBODY)
        with pytest.raises(TenantRequiredError):
            await nobody.write([record])
        with pytest.raises(TenantRequiredError):
            await nobody.delete(record.key)
        assert await nobody.count(Query()) == 0
        with pytest.raises(NotFoundError):
            await nobody.get(record.key)


class TestServiceBlobs(BlobsSuite):
    """Owned by a service, kept for a time."""

    @pytest.fixture(params=["postgres"])
    async def port(self, postgres: PostgresStore) -> ServiceBlobs:
        return postgres.service_blobs(KEPT).within(PAY)

    def blob(self, **values: Any) -> ServiceBlob:
        return ServiceBlob(**fields(**values))

    def comparable(self, record: ServiceBlob) -> ServiceBlob:
        return record.model_copy(update={"version": None, "expires_at": None})

    async def test_without_a_service_nothing_is_written_deleted_or_seen(
        self, port: ServiceBlobs
    ) -> None:
        record = self.blob()
        await port.write([record])
        nobody = port.within(SYSTEM)
        with pytest.raises(UsageError, match="service"):
            await nobody.write([record])
        with pytest.raises(NotFoundError):
            await nobody.delete(record.key)
        with pytest.raises(NotFoundError):
            await nobody.get(record.key)
        assert await nobody.count(Query()) == 0
        assert await nobody.facts() == []

    async def test_services_have_keys_of_their_own(self, port: ServiceBlobs) -> None:
        record, other = self.blob(), port.within(OTHER)
        foreign = record.model_copy(update={"blob": b"foreign"})
        await port.write([record])
        assert (await other.write([foreign])).new == 1
        assert (await port.get(record.key)).blob == record.blob
        await other.delete(record.key)
        assert (await port.get(record.key)).blob == record.blob

    async def test_a_blob_is_kept_as_long_as_it_says_or_as_all_are(
        self, port: ServiceBlobs
    ) -> None:
        year = datetime(2126, 1, 1, tzinfo=UTC)
        usual, long = self.blob(), self.blob(expires_at=year)
        await port.write([usual, long])
        kept = (await port.get(usual.key)).expires_at
        assert kept is not None
        assert abs(kept - datetime.now(UTC) - KEPT) < timedelta(minutes=5)
        assert (await port.get(long.key)).expires_at == year
        again = await port.write([long.model_copy(update={"expires_at": None})])
        assert (again.existing, (await port.get(long.key)).expires_at) == (1, year)
        longer = await port.write([usual.model_copy(update={"expires_at": year})])
        assert (longer.replaced, (await port.get(usual.key)).expires_at) == (1, year)

    async def test_facts_are_in_order_and_have_no_bytes(self, port: ServiceBlobs) -> None:
        prefix = uuid4().hex
        blobs = [self.blob(data_key=f"{prefix}/{n}", blob=b"x" * n) for n in range(4)]
        await port.write(blobs)
        first = await port.facts(prefix=prefix, limit=3)
        rest = await port.facts(prefix=prefix, after=first[-1].data_key)
        found = [*first, *rest]
        assert [one.data_key for one in found] == [blob.data_key for blob in blobs]
        assert [one.size for one in found] == [0, 1, 2, 3]
        assert found[2].sha256 == hashlib.sha256(b"xx").hexdigest()
        assert (found[2].mac, found[2].version) == (blobs[2].mac, 1)
