"""Kills itself (SIGKILL) right before its n-th call to the file system: `crashing.py DIRECTORY`.

Reads commands from standard input, `n put NAME TEXT` or `n delete NAME`, runs each in a forked
child, and answers `killed` or `done`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from neo_polystore.stores.files.config import FilesConfig
from neo_polystore.stores.files.store import FilesStore

COUNTED = ("open", "write", "pwrite", "fsync", "close", "rename", "mkdir", "unlink", "rmdir")


def arm(calls: int) -> None:
    """Count every call that changes files, and die instead of the n-th."""
    left = calls

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    for name in COUNTED:
        setattr(os, name, counted(getattr(os, name)))
    fcntl.flock = counted(fcntl.flock)


async def pieces(text: str) -> AsyncIterator[bytes]:
    for _ in range(4):
        yield text.encode() * 5000


async def run(directory: Path, calls: int, verb: str, name: str, text: str) -> None:
    store = FilesStore(FilesConfig(directory=directory, chunk_size=4096))
    objects = store.port("objects")
    arm(calls)
    if verb == "put":
        await objects.put("bucket", name, pieces(text))
    else:
        await objects.delete(f"bucket/{name}")


def main() -> None:
    directory = Path(sys.argv[1])
    for line in sys.stdin:
        calls, verb, name, *text = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(run(directory, int(calls), verb, name, "".join(text)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        print({0: "done", -signal.SIGKILL: "killed"}.get(code, f"failed {code}"), flush=True)


if __name__ == "__main__":
    main()
