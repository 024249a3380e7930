"""What is missing or damaged is found by the check and refused by the restore."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from neo_polystore.backup import manifest as files
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.clusters import administrator
from neo_polystore.errors import BackupError, ConfigError, IntegrityError
from neo_polystore.pitr.archive import WalArchive
from neo_polystore.pitr.basebackup import Wish, make_base
from neo_polystore.pitr.bases import shelf_of
from neo_polystore.pitr.check import Findings, check, contents_of, damaged
from neo_polystore.pitr.plan import Goal, make_plan
from tests.pitr.conftest import KEY, Chain, Rig


async def found_in(chain: Chain) -> Findings:
    """What the check says, every file read."""
    shelf = shelf_of(chain.target, KEY)
    archive = WalArchive(chain.target, KEY, chain.last.positions.system)
    contents = contents_of(archive)
    found = check(contents, shelf.bases.values(), archive.system)
    found.damaged = await damaged(archive, contents.names)
    return found


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def nothing_in(into: Path) -> bool:
    """Whether a restore has left nothing."""
    return list(into.parent.iterdir()) == []


async def test_a_whole_archive_raises_no_alarm(chain: Chain) -> None:
    found = await found_in(chain)
    assert found.ok, found
    assert found.bases
    assert all(found.bases.values())


async def test_a_hole_is_found_and_refused(rig: Rig, chain: Chain, into: Path) -> None:
    gone = chain.segment(2)
    gone.unlink()
    found = await found_in(chain)
    holes = [(hole.first, hole.last, hole.count) for hole in found.holes]
    assert holes == [(gone.stem, gone.stem, 1)]
    assert not found.bases[chain.last.id]
    with pytest.raises(IntegrityError, match=f"1 segments from {gone.stem}"):
        await rig.restore(Goal(), into, chain.root)
    assert nothing_in(into)
    plan = await make_plan(chain.target, KEY, Goal(despite_holes=True))
    assert plan.base.id == chain.last.id


async def test_holes_are_found_without_any_base_backup(chain: Chain) -> None:
    shutil.rmtree(chain.root / "base")
    gone = chain.segment(1)
    gone.unlink()
    assert [hole.first for hole in (await found_in(chain)).holes] == [gone.stem]


async def test_a_base_backup_without_its_own_wal_is_refused_in_any_case(chain: Chain) -> None:
    chain.segment(0).unlink()
    with pytest.raises(IntegrityError, match="hole"):
        await make_plan(chain.target, KEY, Goal(despite_holes=True))


async def test_a_chain_without_a_link_is_refused_before_anything_is_touched(
    rig: Rig, chain: Chain, into: Path, tmp_path: Path
) -> None:
    full, last = chain.full.id, chain.last.id
    shutil.move(chain.run(chain.full), tmp_path / "aside")
    with pytest.raises(BackupError, match=f"{last} builds on {full}, which cannot be used"):
        await rig.restore(Goal(), into, chain.root)
    shutil.move(tmp_path / "aside", chain.run(chain.full))
    part = next(chain.run(chain.full).glob("cluster/tar.000001.*"))
    part.rename(tmp_path / "part")
    with pytest.raises(IntegrityError, match="is missing"):
        await rig.restore(Goal(), into, chain.root)
    (tmp_path / "part").rename(part)
    (chain.run(chain.full) / "manifest.json").unlink()
    with pytest.raises(BackupError, match="never completed"):
        await rig.restore(Goal(), into, chain.root)
    assert nothing_in(into)


async def test_a_link_that_is_another_full_backup_is_refused(chain: Chain) -> None:
    other = chain.full.manifest.model_copy(update={"profile": "another"})
    (chain.run(chain.full) / "manifest.json").write_bytes(files.dump(other, KEY))
    with pytest.raises(IntegrityError, match="another than"):
        await make_plan(chain.target, KEY, Goal())


async def test_a_flipped_bit_in_a_base_backup_is_caught(rig: Rig, chain: Chain, into: Path) -> None:
    flip(next(chain.run(chain.full).glob("cluster/tar.000002.*")))
    with pytest.raises(IntegrityError, match="not those that were stored"):
        await rig.restore(Goal(), into, chain.root)
    assert nothing_in(into)


async def test_a_flipped_bit_in_wal_is_found_and_stops_the_recovery(
    rig: Rig, chain: Chain, into: Path
) -> None:
    path = chain.segment(1)
    flip(path)
    assert list((await found_in(chain)).damaged) == [path.stem]
    with pytest.raises(BackupError, match="recovery has failed"):
        await rig.restore(Goal(), into, chain.root)
    assert nothing_in(into)


@pytest.mark.parametrize("key", [None, BackupKey(bytes(32))], ids=["none", "another"])
async def test_another_key_or_none_is_refused(chain: Chain, key: BackupKey | None) -> None:
    with pytest.raises(BackupError, match=f"encrypted under key {KEY.id}"):
        await make_plan(chain.target, key, Goal())


async def test_a_target_to_which_the_server_does_not_archive_is_noticed(
    rig: Rig, tmp_path: Path
) -> None:
    wish = Wish(part_bytes=1 << 20, patience=1)
    with pytest.raises(BackupError, match="has not come into the archive"):
        await make_base(rig.admin, DirectoryTarget(tmp_path / "other"), key=KEY, wish=wish)
    assert not any(path.is_file() for path in (tmp_path / "other").rglob("*"))


async def test_a_server_that_does_not_archive_is_refused(rig: Rig, folder: Path) -> None:
    update = {"neo_wal_archive": None, "neo_data_dir": folder / "silent"}
    async with administrator(rig.settings.model_copy(update=update)) as admin:
        with pytest.raises(ConfigError, match="NEO_WAL_ARCHIVE=true"):
            await make_base(admin, rig.target, key=KEY)
