"""Streams of tar: a file is picked out of one that passes by, and one is unpacked as it arrives."""

from __future__ import annotations

import asyncio
import fcntl
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from neo_polystore.errors import BackupError

_BLOCK = 512
_PIPE_BYTES = 1 << 20


class Picker:
    """Keeps the content of one member of a tar stream that is fed to it in any pieces."""

    def __init__(self, wanted: str):
        self.content = bytearray()
        self.members = 0
        self._wanted = wanted.encode()
        self._head = bytearray()
        self._left = 0
        self._keep = 0

    def feed(self, data: bytes) -> None:
        """The next piece."""
        view, at = memoryview(data), 0
        while at < len(view):
            if self._left:
                step = min(self._left, len(view) - at)
                kept = min(self._keep, step)
                self.content += view[at : at + kept]
                self._keep -= kept
                self._left -= step
            else:
                step = min(_BLOCK - len(self._head), len(view) - at)
                self._head += view[at : at + step]
                if len(self._head) == _BLOCK:
                    self._begin(bytes(self._head))
                    self._head.clear()
            at += step

    def _begin(self, head: bytes) -> None:
        if not any(head):  # the end is marked by empty blocks
            return
        size = tarfile.nti(head[124:136])  # type: ignore[attr-defined]
        self.members += 1
        self._left = -(-size // _BLOCK) * _BLOCK
        self._keep = size if head[:100].rstrip(b"\0") == self._wanted else 0


async def unpack(chunks: AsyncIterator[bytes], folder: Path) -> None:
    """Write the files of a tar stream into a folder that exists.

    BackupError where the stream is none, or holds names that lead out of the folder.
    """
    reading, writing = os.pipe()
    with suppress(OSError):  # more than the limit of the system: it stays small
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    work = asyncio.create_task(asyncio.to_thread(_unpack, reading, folder))
    try:
        with os.fdopen(writing, "wb", buffering=0) as pipe, suppress(BrokenPipeError):
            async for chunk in chunks:
                await asyncio.to_thread(_write, pipe.fileno(), chunk)
    except BaseException:
        with suppress(BackupError):
            await work
        raise
    await work


def _write(pipe: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(pipe, view) :]


def _unpack(reading: int, folder: Path) -> None:
    with os.fdopen(reading, "rb") as pipe:
        try:
            with tarfile.open(fileobj=pipe, mode="r|", bufsize=_PIPE_BYTES) as archive:
                archive.extractall(folder, filter="data")
        except tarfile.TarError as error:
            raise BackupError(f"the base backup cannot be unpacked: {error}") from None
        except OSError as error:
            raise BackupError(f"{folder}: {error.strerror or error}") from error
