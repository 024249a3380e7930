"""`sealing`: sealed blobs against the same bytes stored raw, and the cipher against bare AES-GCM.

Both sides of the stored ones write rows of the same tables of one embedded server, with fsync and
synchronous commit on, and with the row audit's triggers. Ours also writes heads and audit entries.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.platform import embedded_platform
from benchmarks.runner import Report
from neo_polystore import Polystore
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER, uuid7
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.sealing import Binding, Identity, Opener, ServiceOwner
from neo_polystore.sealing.blob import seal, unseal
from neo_polystore.sealing.derivation import MasterKey
from neo_polystore.sealing.items import Draft, OwnItems
from neo_polystore.sealing.rotation import BATCH, rotate

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

DATA_TYPES = ("accounts", "audit_logs", "sealed")
STORED = 4_000
ROTATED = 100_000
BULK = 64
AT_ONCE = 200
BLOB, SMALL, LARGE = 4096, 1024, 1 << 20

IDENTITY = Identity(policy="USER_DEFINED", label="bench")
OPENER = Opener(label="bench")

_INSERT = """
INSERT INTO enclave.sealed_data
    (id, tenant_id, owner_id, enclave_id, data_key, sealed_blob, mac, policy)
SELECT i.id, $1, $2, '', i.key, i.blob, repeat('0', 64), 'USER_DEFINED'
FROM unnest($3::uuid[], $4::text[], $5::bytea[]) AS i (id, key, blob)
"""
_SELECT = "SELECT data_key, sealed_blob FROM enclave.sealed_data WHERE data_key = ANY ($1)"
_PAGE = """
SELECT data_key, sealed_blob FROM enclave.sealed_data
WHERE data_key > $1 AND starts_with(data_key, $2) ORDER BY data_key LIMIT $3
"""
_UPDATE = """
UPDATE enclave.sealed_data s SET sealed_blob = i.blob, mac = repeat('1', 64)
FROM unnest($1::text[], $2::bytea[]) AS i (key, blob) WHERE s.data_key = i.key
"""


@dataclass
class Bench:
    """Ours and the bare driver, on the items of the system's user."""

    report: Report
    polystore: Polystore
    items: OwnItems
    connection: Connection
    owner: Connection
    scale: float

    def many(self, number: int) -> int:
        """So many, in whole batches, at this scale."""
        return max(AT_ONCE, int(number * self.scale) // AT_ONCE * AT_ONCE)

    @asynccontextmanager
    async def acting(self) -> AsyncIterator[None]:
        """A transaction of the driver as the system's tenant."""
        async with self.connection.transaction():
            await self.connection.execute(
                "SELECT set_config('app.current_tenant', $1, true)", str(SYSTEM_TENANT)
            )
            yield

    async def insert(self, keys: list[str], blobs: list[bytes]) -> None:
        """Store a batch raw."""
        async with self.acting():
            ids = [uuid7() for _ in keys]
            await self.connection.execute(_INSERT, SYSTEM_TENANT, SYSTEM_USER, ids, keys, blobs)


async def run(scale: float = 1.0) -> Report:
    """Run all comparisons; a smaller scale is for trying the benchmark itself."""
    report = Report("sealing")
    async with embedded_platform(DATA_TYPES, neo_cache=False) as polystore:
        config: PgConfig = polystore.stores["postgres"].config  # type: ignore[attr-defined]
        connection = await asyncpg.connect(**config.connect_arguments())
        owner = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            items = polystore.sealing.of_user(SYSTEM_TENANT, SYSTEM_USER)
            bench = Bench(report, polystore, items, connection, owner, scale)
            await _store(bench)
            await _read(bench)
            await _bulk(bench)
            await _rotate(bench)
        finally:
            await owner.close()
            await connection.close()
    return report


async def _store(bench: Bench) -> None:
    turn, total = count(), bench.many(STORED)
    contents = [os.urandom(BLOB) for _ in range(AT_ONCE)]

    async def ours() -> float:
        started, prefix = time.perf_counter(), f"store-{next(turn):04}"
        for at in range(0, total, AT_ONCE):
            await bench.items.seal_all(
                [Draft(f"{prefix}/{at + n:06}", c, IDENTITY) for n, c in enumerate(contents)]
            )
        return total / (time.perf_counter() - started)

    async def raw() -> float:
        started, prefix = time.perf_counter(), f"{SYSTEM_USER}/raw-{next(turn):04}"
        for at in range(0, total, AT_ONCE):
            keys = [f"{prefix}/{at + n:06}" for n in range(AT_ONCE)]
            await bench.insert(keys, contents)
        return total / (time.perf_counter() - started)

    await bench.report.compare(
        "seal_and_store",
        ours=ours,
        reference=raw,
        reference_is=f"asyncpg storing {BLOB} bytes unsealed, {AT_ONCE} per commit",
        unit="blobs/s",
    )


async def _read(bench: Bench) -> None:
    total = bench.many(STORED)
    keys = [f"read/{n:06}" for n in range(total)]
    contents = [os.urandom(BLOB) for _ in range(AT_ONCE)]
    batches = [keys[at : at + AT_ONCE] for at in range(0, total, AT_ONCE)]
    for batch in batches:
        await bench.items.seal_all(
            [Draft(key, c, IDENTITY) for key, c in zip(batch, contents, strict=True)]
        )
    await bench.owner.execute("VACUUM ANALYZE enclave.sealed_data")

    async def ours() -> float:
        started = time.perf_counter()
        for batch in batches:
            await bench.items.open_all(batch, OPENER)
        return total / (time.perf_counter() - started)

    async def raw() -> float:
        started = time.perf_counter()
        for batch in batches:
            async with bench.acting():
                rows = await bench.connection.fetch(
                    _SELECT, [f"{SYSTEM_USER}/{key}" for key in batch]
                )
            if len(rows) != len(batch):
                raise RuntimeError("the driver read something else")
        return total / (time.perf_counter() - started)

    await bench.report.compare(
        "read",
        ours=ours,
        reference=raw,
        reference_is=f"asyncpg reading the same rows, {AT_ONCE} per statement",
        unit="blobs/s",
    )


async def _bulk(bench: Bench) -> None:
    """CPU time: nothing here waits."""
    content, raw_key = os.urandom(LARGE), os.urandom(32)
    master = MasterKey("bench", os.urandom(32))
    binding = Binding(ServiceOwner("bench"), "k", "", IDENTITY, 1)
    sealed = seal(content, master=master, binding=binding)
    cipher, nonce = AESGCM(raw_key), os.urandom(12)
    encrypted = cipher.encrypt(nonce, content, None)

    def rate(work: Callable[[], object]) -> float:
        started = time.process_time()
        for _ in range(BULK):
            work()
        return BULK / (time.process_time() - started)

    async def seals() -> float:
        return rate(lambda: seal(content, master=master, binding=binding))

    async def encrypts() -> float:
        return rate(lambda: cipher.encrypt(os.urandom(12), content, None))

    async def unseals() -> float:
        return rate(lambda: unseal(sealed.blob, sealed.mac, master=master, binding=binding))

    async def decrypts() -> float:
        return rate(lambda: cipher.decrypt(nonce, encrypted, None))

    for name, ours, raw in (("bulk_seal", seals, encrypts), ("bulk_open", unseals, decrypts)):
        await bench.report.compare(
            name, ours=ours, reference=raw, reference_is="bare AESGCM of 1 MiB", unit="MiB/s of CPU"
        )


async def _rotate(bench: Bench) -> None:
    """Each run of ours seals everything anew; the other side reads and writes as many raw rows."""
    total = bench.many(ROTATED)
    await bench.owner.execute("TRUNCATE enclave.sealed_data, enclave.sealed_heads")
    contents = [os.urandom(SMALL) for _ in range(AT_ONCE)]
    prefix = f"{SYSTEM_USER}/zraw/"
    for at in range(0, total, AT_ONCE):
        keys = [f"{at + n:08}" for n in range(AT_ONCE)]
        await bench.items.seal_all(
            [Draft(k, c, IDENTITY) for k, c in zip(keys, contents, strict=True)]
        )
        await bench.insert([prefix + key for key in keys], contents)
    await bench.owner.execute("VACUUM ANALYZE enclave.sealed_data")

    async def ours() -> float:
        started = time.perf_counter()
        done = await rotate(bench.polystore.sealing)
        if done.resealed != total or not done.destroyed:
            raise RuntimeError(f"rotated {done.resealed} of {total}")
        return total / (time.perf_counter() - started)

    async def raw() -> float:
        started, after, written = time.perf_counter(), "", 0
        while True:
            async with bench.acting():
                rows = await bench.connection.fetch(_PAGE, after, prefix, BATCH)
                if not rows:
                    break
                after = rows[-1]["data_key"]
                blobs = [row["sealed_blob"] for row in rows]
                await bench.connection.execute(_UPDATE, [row["data_key"] for row in rows], blobs)
            written += len(rows)
        if written != total:
            raise RuntimeError(f"the driver wrote {written} of {total}")
        return total / (time.perf_counter() - started)

    await bench.report.compare(
        "rotate",
        ours=ours,
        reference=raw,
        reference_is=f"asyncpg reading and writing {SMALL} bytes raw, {BATCH} per commit",
        unit="blobs/s",
        runs=3,
    )
