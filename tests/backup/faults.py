"""Everything that is done to backups in the tests, and what has to come of it.

`python -m tests.backup.faults` prints the table of docs/backup.md.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Manifest, Part
from tests.backup.conftest import KEY
from tests.backup.gate import Rule, fail_first, lost_from_list, slow, spoiled_get

OTHER_KEY = BackupKey(b"o" * 32)


@dataclass(frozen=True)
class Damage:
    """Something done to a stored run. `words` are in the complaint of whoever reads it."""

    name: str
    outcome: str
    words: str
    do: Callable[[Path, Manifest], object]
    key: BackupKey | None = KEY


@dataclass(frozen=True)
class Trouble:
    """An S3 service that misbehaves; `words` are None where the work succeeds all the same."""

    name: str
    outcome: str
    rule: Rule
    words: str | None = None
    while_writing: bool = True


def parts(manifest: Manifest) -> list[Part]:
    """Parts of one store that are long enough to be damaged."""
    return [
        part
        for stream in manifest.store("postgres").streams
        for part in stream.parts
        if part.stored_bytes > 200
    ]


def path_of(root: Path, manifest: Manifest, number: int = 0) -> Path:
    """A part's file."""
    return root / manifest.folder / parts(manifest)[number].name


def _edit(where: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(where.read_bytes())
    change(data)
    where.write_bytes(data)


def _flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 1


def _manifest(root: Path, manifest: Manifest) -> Path:
    return root / manifest.folder / "manifest.json"


def _swap(root: Path, manifest: Manifest) -> None:
    one, other = path_of(root, manifest, 0), path_of(root, manifest, 1)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def _swap_equal(root: Path, manifest: Manifest) -> None:
    one, other = path_of(root, manifest, 0), path_of(root, manifest, 1)
    size = one.stat().st_size
    one.write_bytes((other.read_bytes() * size)[:size])


def _replace(old: bytes, new: bytes) -> Callable[[Path, Manifest], None]:
    def do(root: Path, manifest: Manifest) -> None:
        where = _manifest(root, manifest)
        text = where.read_bytes()
        assert old in text
        where.write_bytes(text.replace(old, new, 1))

    return do


def _stale(root: Path, manifest: Manifest) -> None:
    where = _manifest(root, manifest)
    other = manifest.model_copy(update={"id": "20200101T000000-00000000"})
    from neo_polystore.backup import manifest as files

    where.write_bytes(files.dump(other, KEY))


DAMAGES = (
    Damage("a bit of a part is flipped", "refused while it is read", "not those that were stored",
           lambda root, m: _edit(path_of(root, m), _flip)),
    Damage("a bit of the last part is flipped", "refused while it is read", "not those that were",
           lambda root, m: _edit(path_of(root, m, -1), _flip)),
    Damage("a part is missing", "refused before anything is touched", "is missing",
           lambda root, m: path_of(root, m).unlink()),
    Damage("a part is cut short", "refused before anything is touched", "bytes, not",
           lambda root, m: _edit(path_of(root, m), lambda data: data.__delitem__(slice(-9, None)))),
    Damage("a part is empty", "refused before anything is touched", "has 0 bytes",
           lambda root, m: path_of(root, m).write_bytes(b"")),
    Damage("a part is longer", "refused before anything is touched", "bytes, not",
           lambda root, m: _edit(path_of(root, m), lambda data: data.extend(b"more"))),
    Damage("two parts are swapped", "refused before anything is touched", "bytes, not", _swap),
    Damage("a part holds bytes of another, of the right length", "refused while it is read",
           "not those that were stored", _swap_equal),
    Damage("a folder of a store is missing", "refused before anything is touched", "is missing",
           lambda root, m: shutil.rmtree(root / m.folder / "event_store")),
    Damage("a bit of the manifest is flipped", "refused before anything is touched", "manifest of",
           lambda root, m: _edit(_manifest(root, m), _flip)),
    Damage("the manifest is missing", "the run counts as not completed", "has no manifest",
           lambda root, m: _manifest(root, m).unlink()),
    Damage("the manifest is cut short", "refused before anything is touched", "no JSON",
           lambda root, m: _edit(_manifest(root, m), lambda d: d.__delitem__(slice(-99, None)))),
    Damage("the manifest is edited by hand", "refused before anything is touched",
           "changed after it was written", _replace(b'"embedded"', b'"server"')),
    Damage("a name in the manifest leads out of the run", "refused before anything is touched",
           "changed after it was written", _replace(b'"name": "postgres/', b'"name": "../../etc/')),
    Damage("the manifest is of a newer format", "refused before anything is touched",
           "format 2", _replace(b'"format": 1', b'"format": 2')),
    Damage("the manifest is that of another run", "refused before anything is touched",
           "belongs to run 20200101T000000-00000000", _stale),
    Damage("the key is another", "refused before anything is touched", "another",
           lambda root, m: None, key=OTHER_KEY),
    Damage("the key is not set", "refused before anything is touched", "not set",
           lambda root, m: None, key=None),
)  # fmt: skip

TROUBLES = (
    Trouble("S3 answers 500 twice to each upload", "survived: sent again",
            fail_first(2, 500, "InternalError", method="PUT")),
    Trouble("S3 answers 503 SlowDown to each upload", "survived: sent again",
            fail_first(1, 503, "SlowDown", method="PUT")),
    Trouble("S3 answers 500 to each download", "survived: asked again",
            fail_first(1, 500, "InternalError", method="GET"), while_writing=False),
    Trouble("S3 is slow", "survived", slow(0.02)),
    Trouble("S3 refuses uploads", "the run fails, and is no backup",
            fail_first(10**6, 403, "AccessDenied", method="PUT"), "AccessDenied"),
    Trouble("S3 has no room", "the run fails, and is no backup",
            fail_first(10**6, 507, "InsufficientStorage", method="PUT"), "InsufficientStorage"),
    Trouble("S3 lists not everything after a run", "the run fails, and is no backup",
            lost_from_list, "not there any more"),
    Trouble("S3 lists not everything before a restore", "refused before anything is touched",
            lost_from_list, "is missing", while_writing=False),
    Trouble("S3 ends each download early", "refused while it is read",
            spoiled_get(always=True, cut=True), "", while_writing=False),
    Trouble("S3 flips a bit of each download", "refused while it is read",
            spoiled_get(always=True, cut=False), "", while_writing=False),
)  # fmt: skip

PROCESSES = (
    ("the process is killed before its first part is stored", "nothing is a backup; begun anew"),
    ("the process is killed in the middle", "no backup; resumed, sending at most 5 % again"),
    ("the process is killed before the manifest is written", "no backup; resumed, sending nothing"),
    ("the disk is full", "the run fails, and is no backup"),
    ("the server ends the connections of a backup", "the run fails, and is no backup"),
    ("the clock is set back during a run", "survived: the run keeps the time of its start"),
    ("the proof is that of another manifest", "the run counts as not proven"),
    ("a restored row differs", "the proof fails and names the table"),
    ("the target of a restore is not empty", "refused before anything is touched"),
    ("the target of a restore is in use", "refused, even by force"),
    ("a part turns out to be damaged in the middle of a restore", "the store is left empty"),
)


def table() -> str:
    """The table of the docs."""
    rows = [(each.name, each.outcome) for each in (*DAMAGES, *TROUBLES)]
    rows += PROCESSES
    lines = ["| what happens | what comes of it |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {outcome} |" for name, outcome in rows)]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
