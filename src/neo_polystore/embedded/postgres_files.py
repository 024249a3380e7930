"""Reads what a PostgreSQL installation and a data directory say about themselves."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from pathlib import Path

from neo_polystore.embedded.values import EmbeddedError


def major_version(postgres: Path) -> int:
    """The major version of this `postgres` program."""
    try:
        answer = subprocess.run(  # noqa: S603 - the configured installation
            (postgres, "--version"), capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(f"{postgres} cannot be run: {error}") from error
    match = re.search(r"\(PostgreSQL\) (\d+)", answer)
    if match is None:
        raise EmbeddedError(f"{postgres} does not tell its version: {answer.strip()!r}")
    return int(match[1])


def library_folders(bin_folder: Path) -> list[Path]:
    """Where the installation may keep its extensions' libraries, likeliest first."""
    root = bin_folder.parent
    folders = [root / "lib" / "postgresql", root / "lib"]
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(  # noqa: S603 - the configured installation
            (bin_folder / "pg_config", "--pkglibdir"),
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        folders.insert(0, Path(answer.stdout.strip()))
    return folders


def clear_stale_files(data: Path) -> None:
    """Remove pid and socket lock files that PostgreSQL itself would wrongly believe.

    It only asks whether the process exists, which is true of a zombie that nobody reaps and of an
    unrelated process with the same number. Our own servers are gone here (the lock), so a living
    postmaster of this directory was started by hand: that is an error.
    """
    path = data / "postmaster.pid"
    pid = None
    with suppress(FileNotFoundError, ValueError):
        pid = int(path.read_text().split("\n", 1)[0])
    if pid is not None and _is_postmaster_of(pid, data):
        raise EmbeddedError(
            f"PostgreSQL already runs in {data} (process {pid}), started by something else. "
            f"Stop it first: kill -INT {pid}"
        )
    # The file of a process that is really gone stays: PostgreSQL reads in it which shared memory
    # to look at before it trusts that nobody is left.
    if pid is None or Path(f"/proc/{pid}").exists():
        path.unlink(missing_ok=True)
    for leftover in data.glob(".s.PGSQL.*"):
        leftover.unlink(missing_ok=True)


def _is_postmaster_of(pid: int, data: Path) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        # The working directory of a zombie cannot be read either.
        return state not in "ZX" and (process / "cwd").samefile(data)
    except OSError:
        return False
