"""Looks at processes from outside, by what they have open: independent of the code under test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def _alive() -> Iterator[Path]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    yield entry


def left_overs(folder: Path) -> dict[int, str]:
    """The living processes, except this one, that work in a folder or have a file of it open."""
    inside = f"{folder}/"
    found = {}
    for entry in _alive():
        with suppress(OSError):
            links = [entry / "cwd", *(entry / "fd").iterdir()]
            targets = []
            for link in links:
                with suppress(OSError):
                    targets.append(f"{link.readlink()}/")
            if any(target.startswith(inside) for target in targets):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                found[int(entry.name)] = b" ".join(words).decode(errors="replace")[:200]
    return found


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for entry in _alive():
        with suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def kill(*pids: int) -> None:
    """kill -9, at once for all."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
