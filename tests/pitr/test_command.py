"""`wal push` and `wal fetch` as PostgreSQL runs them: exit codes, kills, and what they import."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from neo_polystore.pitr.command import ABORT
from tests.pitr.segments import SYSTEM, content, name

COMMAND = "neo_polystore.pitr.command"

# Dies at the nth call of a function that makes a stored file what it is.
_DYING = """
import os, pathlib, signal, sys
left = int(sys.argv.pop(1))
def dying(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
os.fsync = dying(os.fsync)
os.mkdir = dying(os.mkdir)
pathlib.Path.hardlink_to = dying(pathlib.Path.hardlink_to)
pathlib.Path.unlink = dying(pathlib.Path.unlink)
from neo_polystore.pitr.command import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """As much of a data directory as the commands look at, an archive, and two segments."""
    (tmp_path / "archive").mkdir()
    data = tmp_path / "data"
    (data / "global").mkdir(parents=True)
    (data / "pg_wal").mkdir()
    (data / "global" / "pg_control").write_bytes(struct.pack("=Q", SYSTEM) + bytes(288))
    for number in (3, 4):
        (data / "pg_wal" / name(number)).write_bytes(content(number))
    access = {"NEO_BACKUP_TARGET": str(tmp_path / "archive"), "NEO_BACKUP_KEY": "07" * 32}
    (tmp_path / "access.json").write_text(json.dumps(access))
    return data


def run(data: Path, *words: str, script: tuple[str, ...] = ("-m", COMMAND)) -> int:
    """The exit code of the command in the data directory."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NEO_", "S3_"))}
    return subprocess.run(
        (sys.executable, "-P", *script, *words), cwd=data, env=environment, check=False,
        capture_output=True,
    ).returncode  # fmt: skip


def push(data: Path, number: int, script: tuple[str, ...] = ("-m", COMMAND)) -> int:
    """Archive one of the segments."""
    access = str(data.parent / "access.json")
    return run(data, "push", "--settings", access, f"pg_wal/{name(number)}", name(number),
               script=script)  # fmt: skip


def fetch(data: Path, wanted: str) -> int:
    """Get a file back."""
    access = str(data.parent / "access.json")
    return run(data, "fetch", "--settings", access, wanted, "pg_wal/RECOVERYXLOG")


def test_exit_codes_say_what_postgresql_is_to_do(data: Path) -> None:
    assert push(data, 3) == 0
    assert push(data, 3) == 0
    assert fetch(data, name(3)) == 0
    assert (data / "pg_wal" / "RECOVERYXLOG").read_bytes() == content(3)
    assert fetch(data, name(4)) == 1  # the end of WAL
    (stored,) = data.parent.glob("archive/wal/*/*/*.wal")
    stored.write_bytes(stored.read_bytes()[:-5])
    assert fetch(data, name(3)) == ABORT > 125  # what cannot be read is no end
    assert push(data, 3) == 1
    (data / "pg_wal" / name(4)).write_bytes(content(5))
    assert push(data, 4) == 1
    assert run(data, "push", "x") == 2
    assert run(data, "push", "x", "y") == 1  # no target is set


def test_an_archive_that_is_away_is_no_end_of_wal(data: Path) -> None:
    assert push(data, 3) == 0
    (data.parent / "archive").rename(data.parent / "elsewhere")
    assert fetch(data, name(4)) == ABORT
    assert push(data, 4) == 1
    (data.parent / "archive").mkdir()  # the mount point without the mount
    assert fetch(data, name(4)) == ABORT


def test_a_push_that_is_killed_leaves_no_half_segment(data: Path) -> None:
    """At each step: nothing is there under the name, or all of it; and the next push is right."""
    kills = 0
    for step in range(1, 40):
        number = 3 + step % 2
        for stored in data.parent.glob("archive/wal/*/*/*.wal"):
            stored.unlink()
        code = push(data, number, script=("-c", _DYING, str(step)))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
        assert fetch(data, name(number)) in (0, 1, ABORT)
        for stored in data.parent.glob("archive/wal/*/*/*.wal"):
            assert fetch(data, stored.stem) == 0
            assert (data / "pg_wal" / "RECOVERYXLOG").read_bytes() == content(number)
        assert push(data, number) == 0
        assert fetch(data, name(number)) == 0
    assert code == 0
    assert kills >= 5


def test_the_console_script_goes_the_same_way(data: Path) -> None:
    access = str(data.parent / "access.json")
    code = run(data, "wal", "push", "--settings", access, f"pg_wal/{name(3)}", name(3),
               script=("-m", "neo_polystore"))  # fmt: skip
    assert code == 0
    assert fetch(data, name(3)) == 0


def test_it_imports_little() -> None:
    """It starts once for each segment of 16 MiB."""
    script = (
        "import sys; sys.argv[1:] = ['wal', 'push'];"
        "import neo_polystore.cli.entry, neo_polystore.pitr.command;"
        "print([m for m in ('pydantic', 'asyncio', 'asyncpg', 'boto3', 'rich', 'typer',"
        " 'orjson', 'sqlalchemy') if m in sys.modules])"
    )
    found = subprocess.run((sys.executable, "-c", script), capture_output=True, check=True)
    assert found.stdout.decode().strip() == "[]"
