"""Base backups go by the rules, never what others build on, and WAL only with them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from neo_polystore.backup.manifest import Manifest, SavedStore, SavedStream, run_id
from neo_polystore.backup.prune import Rules
from neo_polystore.backup.runs import Run, digest_of
from neo_polystore.errors import BackupError
from neo_polystore.pitr.archive import WalArchive
from neo_polystore.pitr.bases import Base, Positions, Shelf, base_of, shelf_of
from neo_polystore.pitr.check import check_all
from neo_polystore.pitr.plan import Goal, make_plan
from neo_polystore.pitr.prune import judge, remove, unneeded
from tests.pitr.conftest import KEY, Chain

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
_numbers: Iterator[int] = count()


def base(days_ago: float, parent: Base | None = None, system: str = "1") -> Base:
    """A base backup of so long ago."""
    made = NOW - timedelta(days=days_ago)
    number = next(_numbers)
    positions = Positions(
        kind="full" if parent is None else "incremental",
        system=system,
        postgres=18,
        timeline=1,
        begin=(number + 1) << 24,
        end=((number + 1) << 24) + 300,
        segment_bytes=16 << 20,
        consistent_at=made,
        files=1,
        parent=parent.id if parent else None,
        parent_sha256=digest_of(parent.manifest) if parent else None,
    )
    store = SavedStore(
        name="cluster",
        positions=positions.model_dump(mode="json"),
        streams=(SavedStream(name="tar", parts=()), SavedStream(name="manifest", parts=())),
    )
    return base_of(
        Manifest(
            id=run_id(made, f"{number % 4096:03x}"),
            started=made,
            finished=made,
            versions={},
            profile="",
            scope={},
            part_bytes=1 << 20,
            stores=(store,),
        )
    )


def shelf(*bases: Base, others: tuple[Run, ...] = ()) -> Shelf:
    """With these on it."""
    runs = [Run(b.id, 10, complete=True, stores=("cluster",)) for b in bases]
    ordered = sorted([*runs, *others], key=lambda run: run.id, reverse=True)
    return Shelf({b.id: b for b in bases}, tuple(ordered))


def kept(found: Shelf, rules: Rules) -> set[str]:
    """What stays."""
    return {verdict.run.id for verdict in judge(found, rules, NOW) if verdict.keep}


def test_what_a_kept_one_builds_on_stays() -> None:
    full = base(30)
    one = base(29, full)
    two = base(28, one)
    alone = base(40)
    rules = Rules(daily=1, weekly=0, monthly=0, least=1)
    assert kept(shelf(full, one, two, alone), rules) == {full.id, one.id, two.id}


def test_never_fewer_than_the_least_of_each_cluster() -> None:
    ours = [base(400 + day) for day in range(5)]
    others = [base(900 + day, system="2") for day in range(5)]
    rules = Rules(daily=0, weekly=0, monthly=0, least=2)
    expected = {b.id for b in (*ours[:2], *others[:2])}
    assert kept(shelf(*ours, *others), rules) == expected


def test_what_cannot_be_read_stays() -> None:
    broken = Run(run_id(NOW - timedelta(days=99), "abc"), 10, complete=True, problem="?")
    new = base(1)
    rules = Rules(daily=1, weekly=0, monthly=0, least=1)
    assert kept(shelf(new, others=(broken,)), rules) == {new.id, broken.id}


def test_a_chain_names_the_link_that_is_missing() -> None:
    full = base(3)
    one = base(2, full)
    with pytest.raises(BackupError, match=f"{one.id} builds on {full.id}"):
        shelf(one).chain(one.id)
    assert [b.id for b in shelf(full, one).chain(one.id)] == [full.id, one.id]


async def test_wal_goes_with_the_base_backups_that_needed_it(chain: Chain) -> None:
    target = chain.target
    found = shelf_of(target, KEY)
    oldest = min(found.bases.values(), key=lambda b: b.positions.begin)
    archive = WalArchive(target, KEY, oldest.positions.system)
    before = {item.name for item in archive.list()}
    verdicts = judge(found, Rules(daily=0, weekly=0, monthly=0, least=1), NOW)
    assert {v.run.id for v in verdicts if v.keep} == {chain.full.id, chain.last.id}
    assert oldest.id != chain.full.id
    wal = unneeded(target, KEY, found, verdicts)
    assert {item.name for item in archive.list()} == before  # nothing was touched so far
    remove(target, KEY, verdicts, wal)
    left = {item.name for item in archive.list()}
    assert before - left == set(wal[0].names)
    assert wal[0].names
    assert min(name for name in left if len(name) == 24) == chain.full.first.name()
    (checked,) = await check_all(target, KEY, deep=True)
    assert checked.ok, checked
    assert (await make_plan(target, KEY, Goal())).base.id == chain.last.id
    again = judge(shelf_of(target, KEY), Rules(daily=0, weekly=0, monthly=0, least=1), NOW)
    assert [w.names for w in unneeded(target, KEY, shelf_of(target, KEY), again)] == [()]


def test_no_wal_goes_while_a_base_backup_cannot_be_read(chain: Chain) -> None:
    manifest = chain.run(chain.full) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-100])
    found = shelf_of(chain.target, KEY)
    verdicts = judge(found, Rules(daily=0, weekly=0, monthly=0, least=1), NOW)
    assert unneeded(chain.target, KEY, found, verdicts) == []
