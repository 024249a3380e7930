"""Locks that the kernel releases when the last process of a server is gone.

A server inherits a descriptor of its locked file, and so do its own children. A new server is
started only after that lock could be taken again: whatever was killed, no two servers ever
work on the same data, and nothing depends on a process id that may belong to somebody else.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from neo_polystore.embedded.files import give_to_owner
from neo_polystore.embedded.values import EmbeddedError

_POLL = 0.02


def try_lock(path: Path) -> int | None:
    """Lock the file and return its descriptor, which the caller closes; None where it is held."""
    is_new = not path.exists()
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if is_new:
            give_to_owner(path)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


def is_held(path: Path) -> bool:
    """Whether some process holds the lock; a file that is not there is not held."""
    if not path.exists():
        return False
    handle = try_lock(path)
    if handle is None:
        return True
    os.close(handle)
    return False


def lock_after_leftovers(
    path: Path, *, stop_signal: signal.Signals, patience: float, kill_after: float = 10.0
) -> int:
    """Wait until the processes of an earlier server are gone, then lock the file.

    They were already told to stop when their keeper died; they are told again in case that got
    lost, and after `patience` seconds (a shutdown checkpoint takes its time) they are killed.
    """
    start = time.monotonic()
    told = killed = False
    while (handle := try_lock(path)) is None:
        waited = time.monotonic() - start
        if waited > patience + kill_after:
            raise EmbeddedError(f"{path} is still locked by {holders(path)}; stop these processes.")
        if waited > patience and not killed:
            killed = True
            _signal(holders(path), signal.SIGKILL)
        elif waited > 1.0 and not told:
            told = True
            _signal(_leaders(holders(path)), stop_signal)
        time.sleep(_POLL)
    return handle


def holders(path: Path) -> list[int]:
    """The processes, other than this one, that have the file open."""
    wanted = path.stat()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            for link in (entry / "fd").iterdir():
                status = link.stat()
                if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(entry.name))
                    break
    return found


def _leaders(pids: list[int]) -> list[int]:
    # A server is the leader of its session; its own children are for it to stop.
    leaders = []
    for pid in pids:
        with suppress(OSError):
            if os.getsid(pid) == pid:
                leaders.append(pid)
    return leaders


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
