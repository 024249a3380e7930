"""`kill -9` of base backups and recoveries at random: nothing half-made is taken for whole."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from neo_polystore.clusters import administrator
from neo_polystore.pitr.bases import shelf_of
from neo_polystore.pitr.plan import Goal
from tests.cli.conftest import command, environment
from tests.cli.test_serve import wait_for
from tests.pitr.conftest import KEY, Rig, started


def killed(rig: Rig, scratch: Path, after: float, *words: str) -> bool:
    """Whether the command was still running so many seconds after its start, and was killed."""
    given = environment(
        rig.settings.neo_data_dir,
        NEO_BACKUP_TARGET=str(rig.root),
        NEO_BACKUP_KEY=bytes(range(32)).hex(),
        NEO_WAL_ARCHIVE="true",
        TMPDIR=str(scratch),  # who is killed cannot clear up
    )
    process = subprocess.Popen(
        command(*words), env=given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    assert process.returncode == 0
    return False


def servers_in(folder: Path) -> list[int]:
    """PostgreSQL servers whose data directory is below the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder) in text and b"postgres" in text.split(b"\0")[0]:
                found.append(int(entry.name))
    return found


def set_aside(into: Path) -> None:
    """What came to its end in time is whole."""
    if into.exists():
        assert (into / "PG_VERSION").exists()
        into.rename(into.with_name(f"whole-{time.monotonic_ns()}"))


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.long)])
async def test_what_was_killed_leaves_nothing_that_counts(
    rig: Rig, into: Path, rounds: int
) -> None:
    chance = random.Random(29)
    async with administrator(rig.settings), rig.connection() as connection:
        await connection.execute(f"CREATE TABLE killed_{rounds} (id int PRIMARY KEY)")
        await connection.execute(
            f"INSERT INTO killed_{rounds} SELECT * FROM generate_series(1, 1000)"
        )
        whole = set(shelf_of(rig.target, KEY).bases)
        kills = 0
        for _ in range(rounds):
            kills += killed(rig, into.parent, chance.uniform(1.0, 2.5), "backup", "base")
            await connection.execute("SELECT pg_switch_wal()")
            words = ("restore", "--to", "latest", "--into", str(into))
            kills += killed(rig, into.parent, chance.uniform(1.0, 4.0), *words)
            set_aside(into)
        assert kills >= rounds // 2
        shelf = shelf_of(rig.target, KEY)
        assert set(shelf.bases) >= whole
        done = await rig.restore(Goal(), into)
        async with started(into, rig) as recovered:
            assert await recovered.fetchval(f"SELECT count(*) FROM killed_{rounds}") == 1000
    assert done.directory == into
    await asyncio.to_thread(wait_for, lambda: not servers_in(into.parent), "the servers to end")
