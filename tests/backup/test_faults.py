"""Seeded faults: every one is caught or survived, and clean runs raise no alarm."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import asyncpg
import orjson
import pytest

from neo_polystore.backup import runs
from neo_polystore.backup.bucket import BucketTarget
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.restore import backing_of, execute, plan
from neo_polystore.backup.run import Options, Progress, run_backup
from neo_polystore.backup.targets import DirectoryTarget, Target
from neo_polystore.backup.verify import verify
from neo_polystore.errors import IntegrityError, PolystoreError
from neo_polystore.pgkit.backing import PgBacking
from neo_polystore.pgkit.backup import SCHEMA
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.ports.backup import BackupScope, Saved
from neo_polystore.ports.store import Store
from neo_polystore.stores.s3.config import S3Config
from tests.backup.conftest import KEY, Platform
from tests.backup.faults import DAMAGES, PROCESSES, TROUBLES, Damage, Trouble, path_of, table
from tests.backup.gate import gate

DOCS = Path(__file__).parents[2] / "docs" / "backup.md"
SMALL = Options(stores=["files", "tantivy"], part_bytes=1024)


async def read_everything(target: Target, run: str, key: BackupKey | None) -> int:
    """What a restore checks, without a restore: manifest, presence, and every byte."""
    reader = RunReader(target, await asyncio.to_thread(runs.load, target, run, key=key), key=key)
    size = 0
    try:
        if missing := await reader.missing():
            raise IntegrityError(missing[0])
        for store in reader.manifest.stores:
            for stream in store.streams:
                async for piece in reader.read(store.name, stream):
                    size += len(piece)
    finally:
        await reader.close()
    return size


@asynccontextmanager
async def cleared(scratch: dict[str, Store], name: str) -> AsyncIterator[dict[str, Store]]:
    try:
        yield {name: scratch[name]}
    finally:
        await backing_of(scratch, name).clear(BackupScope())


def config_of(stores: dict[str, Store], name: str) -> PgConfig:
    """Where a store's database is."""
    backing: object = backing_of(stores, name)
    assert isinstance(backing, PgBacking)
    return backing.config


async def process(platform: Platform, root: Path, *arguments: str) -> tuple[int, str, str]:
    """Run `running_process`; its exit code, what it said and its complaint."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.backup.running_process",
        str(platform.settings.neo_data_dir), str(root), *arguments,
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, complaint = await asyncio.wait_for(child.communicate(), 120)
    return child.returncode or 0, out.decode(), complaint.decode()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.name)
async def test_damage_is_noticed(platform: Platform, copy: Path, damage: Damage) -> None:
    damage.do(copy, platform.manifest)
    with pytest.raises(PolystoreError, match=damage.words):
        await read_everything(DirectoryTarget(copy), platform.manifest.id, damage.key)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda each: each.name)
async def test_trouble_with_s3_is_survived_or_noticed(
    platform: Platform, s3_config: S3Config, trouble: Trouble
) -> None:
    bucket = f"backup-{uuid4().hex[:8]}"
    direct = BucketTarget(s3_config, bucket, "some/prefix")
    direct.check(writing=True)
    run = None
    with gate(str(s3_config.endpoint_url), trouble.rule) as address:
        config = s3_config.model_copy(
            update={"endpoint_url": address, "attempts": 4, "read_timeout": 20.0}
        )
        troubled = BucketTarget(config, bucket, "some/prefix")
        writer = troubled if trouble.while_writing else direct
        try:
            manifest = await run_backup(
                platform.stores, platform.routing, writer, key=KEY, options=SMALL
            )
            run = manifest.id
            await read_everything(troubled, manifest.id, KEY)
            assert trouble.words is None
        except PolystoreError as error:
            assert trouble.words is not None, error
            assert trouble.words in str(error)
    if trouble.while_writing and trouble.words is not None:
        assert run is None
        assert not [each for each in runs.list_runs(direct, key=KEY) if each.complete]
    troubled.close()
    direct.close()


@pytest.mark.parametrize("stage", ["first", "middle", "manifest"])
async def test_a_killed_run_is_no_backup_and_is_resumed(
    platform: Platform, tmp_path: Path, stage: str
) -> None:
    """The names are those of the first three rows of `faults.PROCESSES`."""
    total = await process(platform, tmp_path / "whole", "0", "0")
    assert total[0] == 0, total
    puts = sum(1 for _ in (tmp_path / "whole").rglob("*.zst.enc"))
    at = {"first": 1, "middle": puts // 2, "manifest": puts + 1}[stage]
    code, _, complaint = await process(platform, tmp_path / "target", str(at), "0")
    assert code == -9, complaint
    target = DirectoryTarget(tmp_path / "target")
    if stage == "first":
        found = runs.list_runs(target, key=KEY)
        assert not [each for each in found if each.complete]
        return
    [left] = runs.list_runs(target, key=KEY)
    assert not left.complete
    before = {item.name: item.size for item in target.list()}
    code, out, complaint = await process(platform, tmp_path / "target", "0", "0", left.id)
    assert code == 0, complaint
    run, sent, stored = out.split()
    assert run == left.id
    manifest = runs.load(target, run, key=KEY)
    streams = [stream for store in manifest.stores for stream in store.streams]
    names = {manifest.folder + part.name for stream in streams for part in stream.parts}
    assert int(stored) - int(sent) == sum(before[name] for name in names & before.keys()) > 0
    # pg_dump writes the time into the schema, and numbers its entries in an order that a new
    # ANALYZE of the catalogs may change
    again = [before[name] for name in before.keys() - names if SCHEMA not in name]
    assert sum(again) <= 0.05 * int(stored)
    assert await read_everything(target, run, KEY) > 0
    assert not list((tmp_path / "target").rglob(".incoming-*"))


async def test_a_full_disk_fails_the_run(platform: Platform, tmp_path: Path) -> None:
    code, _, complaint = await process(platform, tmp_path / "target", "0", "900")
    assert code == 1
    assert "the target is full" in complaint
    found = runs.list_runs(DirectoryTarget(tmp_path / "target"), key=KEY)
    assert not [each for each in found if each.complete]


async def test_connections_that_end_fail_the_run(platform: Platform, tmp_path: Path) -> None:
    target = DirectoryTarget(tmp_path / "target")
    config = config_of(platform.stores, "postgres")
    arguments = config.connect_arguments()
    user = config.backup

    class Cut(Progress):
        """Ends every connection of the backup at the first part."""

        done: asyncio.Task[None] | None = None

        def advanced(self, content: int, stored: int, sent: int) -> None:
            if self.done is None:
                self.done = asyncio.create_task(self._end())

        async def _end(self) -> None:
            arguments["user"], arguments["password"] = (
                user,
                config.backup_password.get_secret_value(),
            )
            connection = await asyncpg.connect(**arguments)
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = $1 AND pid <> pg_backend_pid()", user,
            )  # fmt: skip
            await connection.close()

    cut = Cut()
    with pytest.raises(PolystoreError):
        await run_backup(
            platform.stores,
            platform.routing,
            target,
            options=Options(stores=["postgres"], part_bytes=1024),
            progress=cut,
        )
    assert cut.done is not None
    await cut.done
    assert not [each for each in runs.list_runs(target) if each.complete]


async def test_a_clock_that_is_set_back_fails_no_run(platform: Platform, tmp_path: Path) -> None:
    target = DirectoryTarget(tmp_path / "target")
    times = (datetime(2026, 5, 1, 12, tzinfo=UTC) - timedelta(minutes=n) for n in count())
    manifest = await run_backup(
        platform.stores, platform.routing, target, key=KEY, options=SMALL, now=lambda: next(times)
    )
    assert manifest.finished == manifest.started
    assert await read_everything(target, manifest.id, KEY) > 0
    assert runs.newest(target) == manifest.id


async def test_a_proof_of_another_manifest_proves_nothing(platform: Platform, copy: Path) -> None:
    target = DirectoryTarget(copy)
    proof = {
        "manifest_sha256": "0" * 64,
        "finished": "2026-01-01T00:00:00+00:00",
        "stores": {"postgres": {"ok": True}},
    }
    target.put(platform.manifest.folder + runs.PROOF, orjson.dumps(proof))
    [found] = [r for r in runs.list_runs(target, key=KEY) if r.id == platform.manifest.id]
    assert found.proven == ()


async def test_a_restored_row_that_differs_fails_the_proof(
    platform: Platform, copy: Path, scratch: dict[str, Store]
) -> None:
    reader = RunReader(DirectoryTarget(copy), platform.manifest, key=KEY)
    config = config_of(scratch, "event_store")

    class Altering(PgBacking):
        """Restores and then changes one value."""

        async def restore(self, saved: Saved, scope: BackupScope) -> dict[str, int]:
            rows = await super().restore(saved, scope)
            owner = await asyncpg.connect(**self.config.connect_arguments(as_owner=True))
            await owner.execute("UPDATE aggregates SET current_version = current_version + 1")
            await owner.close()
            return rows

    class Altered:
        """A store whose restore goes wrong in silence."""

        def __init__(self) -> None:
            self.backing = Altering(config, store="event_store", phase="follows")

    async with cleared(scratch, "event_store"):
        store: dict[str, Store] = {"event_store": Altered()}  # type: ignore[dict-item]
        proof = await verify(reader, DirectoryTarget(copy), store, only=["event_store"])
    await reader.close()
    assert not proof.ok
    assert "aggregates: differs" in proof.stores["event_store"].problems[0]


async def test_damage_in_the_middle_of_a_restore_leaves_the_store_empty(
    platform: Platform, copy: Path, scratch: dict[str, Store]
) -> None:
    where = path_of(copy, platform.manifest, -1)
    data = bytearray(where.read_bytes())
    data[100] ^= 1
    where.write_bytes(data)
    reader = RunReader(DirectoryTarget(copy), platform.manifest, key=KEY)
    async with cleared(scratch, "postgres") as stores:
        with pytest.raises(IntegrityError, match="not those that were stored"):
            await execute(reader, stores, await plan(reader, stores, only=["postgres"]))
        assert await backing_of(stores, "postgres").occupied(BackupScope()) is None
    await reader.close()


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.long)])
async def test_clean_runs_raise_no_alarm(
    platform: Platform, scratch: dict[str, Store], tmp_path: Path, times: int
) -> None:
    target = DirectoryTarget(tmp_path / "target")
    for _ in range(times):
        manifest = await run_backup(
            platform.stores, platform.routing, target, key=KEY, options=Options(part_bytes=8192)
        )
        reader = RunReader(target, manifest, key=KEY)
        try:
            proof = await verify(reader, target, scratch)
            assert proof.ok, proof
        finally:
            await reader.close()
            for store in manifest.stores:
                if store.streams:
                    await backing_of(scratch, store.name).clear(BackupScope())


def test_at_least_twenty_kinds_of_fault_are_tried() -> None:
    assert len(DAMAGES) + len(TROUBLES) + len(PROCESSES) >= 20


def test_the_docs_hold_the_table_of_faults() -> None:
    assert table() in DOCS.read_text(), "run `python -m tests.backup.faults` and paste its table"
