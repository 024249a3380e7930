"""The archive of WAL: once stored, never replaced, and nothing comes back that was not stored."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from neo_polystore.backup.bucket import BucketTarget
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.targets import DirectoryTarget, Target
from neo_polystore.errors import (
    BackupError,
    ConfigError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    PolystoreError,
)
from neo_polystore.pitr.archive import WalArchive, system_of
from neo_polystore.stores.s3.config import S3Config
from tests.pitr.segments import SYSTEM, content, name

KEY = BackupKey(bytes(range(32)))


@pytest.fixture(params=["directory", "bucket"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """An empty target of either kind."""
    found: Target
    if request.param == "directory":
        found = DirectoryTarget(tmp_path / "target")
    else:
        config: S3Config = request.getfixturevalue("s3_config")
        found = BucketTarget(config, f"wal-{random.randrange(1 << 40)}", "some/prefix")
    found.check(writing=True)
    return found


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def archive(request: pytest.FixtureRequest, target: Target) -> WalArchive:
    """The archive of one cluster in it."""
    return WalArchive(target, request.param, str(SYSTEM))


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Makes a file with this content."""

    def make(data: bytes) -> Path:
        path = tmp_path / f"file-{random.randrange(1 << 40)}"
        path.write_bytes(data)
        return path

    return make


File = Callable[[bytes], Path]


def test_a_segment_comes_back_to_the_byte(archive: WalArchive, file: File) -> None:
    assert archive.push(file(content(3)), name(3))
    assert archive.fetch(name(3)) == content(3)
    assert [item.name for item in archive.list()] == [name(3)]
    assert archive.has(name(3))
    assert not archive.has(name(4))


def test_pushing_it_again_changes_nothing(archive: WalArchive, file: File) -> None:
    assert archive.push(file(content(3)), name(3))
    before = list(archive.list())
    assert not archive.push(file(content(3)), name(3))
    assert list(archive.list()) == before


def test_another_segment_of_the_name_is_refused(archive: WalArchive, file: File) -> None:
    archive.push(file(content(3)), name(3))
    with pytest.raises(ConflictError, match="Nothing was replaced"):
        archive.push(file(content(3, seed=1)), name(3))
    assert archive.fetch(name(3)) == content(3)


def test_of_many_that_race_one_wins(archive: WalArchive, file: File) -> None:
    paths = [file(content(3, seed=seed)) for seed in (1, 2)]
    outcomes: Counter[str] = Counter()
    start = threading.Barrier(8)

    def push(seed: int) -> None:
        start.wait()
        try:
            outcomes[f"{seed} {archive.push(paths[seed], name(3))}"] += 1
        except ConflictError:
            outcomes[f"{seed} refused"] += 1

    threads = [threading.Thread(target=push, args=(number % 2,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = 0 if archive.fetch(name(3)) == paths[0].read_bytes() else 1
    assert outcomes == {f"{winner} True": 1, f"{winner} False": 3, f"{1 - winner} refused": 4}


def test_what_is_not_there_is_told_from_an_archive_that_is_not(
    archive: WalArchive, file: File
) -> None:
    with pytest.raises(BackupError, match="no WAL of the cluster"):
        archive.fetch(name(3))
    archive.push(file(content(3)), name(3))
    with pytest.raises(NotFoundError):
        archive.fetch(name(4))


def test_a_folder_that_is_not_mounted_is_no_end_of_wal(tmp_path: Path, file: File) -> None:
    archive = WalArchive(DirectoryTarget(tmp_path / "gone"), None, str(SYSTEM))
    with pytest.raises(ConfigError, match="no such directory"):
        archive.fetch(name(3))
    with pytest.raises(ConfigError, match="no such directory"):
        archive.push(file(content(3)), name(3))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (content(3)[:-1], "has 1048575 bytes"),
        (content(3)[:20], "cut short"),
        (b"", "cut short"),
        (content(4), "other WAL than its name"),
        (content(3, timeline=2), "other WAL than its name"),
        (content(3, system=SYSTEM + 1), "is of the cluster"),
    ],
    ids=["a byte less", "a stub", "empty", "another", "a later timeline", "another cluster"],
)
def test_only_the_segment_that_it_is_named_is_taken(
    tmp_path: Path, file: File, data: bytes, reason: str
) -> None:
    target = DirectoryTarget(tmp_path)
    with pytest.raises(IntegrityError, match=reason):
        WalArchive(target, None, str(SYSTEM)).push(file(data), name(3))
    assert list(target.list("wal/")) == []


def test_the_first_segment_of_a_timeline_begins_as_its_parents(tmp_path: Path, file: File) -> None:
    archive = WalArchive(DirectoryTarget(tmp_path), None, str(SYSTEM))
    assert archive.push(file(content(3, timeline=1)), name(3, timeline=2))


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_every_flipped_bit_is_caught(tmp_path: Path, file: File, key: BackupKey | None) -> None:
    archive = WalArchive(DirectoryTarget(tmp_path), key, str(SYSTEM))
    archive.push(file(content(3)), name(3))
    (path,) = tmp_path.glob("wal/*/*/*.wal")
    whole = path.read_bytes()
    chance = random.Random(8)
    places = [*range(60), *(chance.randrange(len(whole)) for _ in range(60)), len(whole) - 1]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            assert archive.fetch(name(3)) == content(3), place  # some bits mean nothing to zstd
        except PolystoreError as error:
            assert isinstance(error, IntegrityError | ConfigError), (place, error)
    path.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError):
        archive.fetch(name(3))


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_a_segment_under_another_name_is_caught(
    tmp_path: Path, file: File, key: BackupKey | None
) -> None:
    archive = WalArchive(DirectoryTarget(tmp_path), key, str(SYSTEM))
    for number in (3, 4):
        archive.push(file(content(number)), name(number))
    one, other = sorted(tmp_path.glob("wal/*/*/*.wal"))
    one.write_bytes(other.read_bytes())
    with pytest.raises(IntegrityError):
        archive.fetch(name(3))


def test_a_key_is_asked_for_and_no_plain_segment_passes_for_an_encrypted_one(
    tmp_path: Path, file: File
) -> None:
    target = DirectoryTarget(tmp_path)
    keyed, plain = (WalArchive(target, key, str(SYSTEM)) for key in (KEY, None))
    keyed.push(file(content(3)), name(3))
    with pytest.raises(ConfigError, match=KEY.id):
        plain.fetch(name(3))
    with pytest.raises(ConfigError, match=KEY.id):
        WalArchive(target, BackupKey(bytes(32)), str(SYSTEM)).fetch(name(3))
    plain.push(file(content(4)), name(4))
    with pytest.raises(IntegrityError, match="not encrypted"):
        keyed.fetch(name(4))


def test_clusters_do_not_see_each_other(tmp_path: Path, file: File) -> None:
    target = DirectoryTarget(tmp_path)
    WalArchive(target, None, str(SYSTEM)).push(file(content(3)), name(3))
    other = WalArchive(target, None, str(SYSTEM + 1))
    assert other.push(file(content(3, system=SYSTEM + 1)), name(3))
    assert other.fetch(name(3)) != content(3)


def test_a_folder_that_is_no_data_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no data directory"):
        system_of(tmp_path)
