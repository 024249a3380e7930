"""The directory as other processes see it: locks, durable renames and what a kill left behind.

All of it blocks, and is called in threads.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from neo_polystore.errors import ConfigError
from neo_polystore.stores.files.errors import STORE
from neo_polystore.stores.files.names import FORMAT, INCOMING, LOCKS

_VERSION = b"neo-polystore objects 1\n"
_STRIPES = 64
_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that is being written and has no object's name yet."""

    handle: int
    path: Path

    def write(self, data: bytes | bytearray) -> None:
        """Append all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.handle, view) :]


class Volume:
    """A store's directory. Files are made with mode 0600, directories with 0700."""

    def __init__(self, root: Path):
        self.root = root

    def open(self) -> None:
        """Make the directory, or check that it is one of ours; remove leftovers."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.root / FORMAT).exists():
            strange = [each.name for each in self.root.iterdir() if not each.name.startswith("%")]
            if strange:
                raise ConfigError(
                    f"{self.root} is no object store and holds other things ({strange[0]!r}):"
                    " name a directory that is empty or does not exist",
                    store=STORE,
                )
        for name in (INCOMING, LOCKS):
            (self.root / name).mkdir(mode=0o700, exist_ok=True)
        version = self.root / FORMAT
        if not version.exists():
            incoming = self.begin()
            try:
                incoming.write(_VERSION)
                self.place(incoming, FORMAT)
            finally:
                self.end(incoming)
            _sync_folder(self.root.parent)
        elif version.read_bytes() != _VERSION:
            raise ConfigError(
                f"{self.root} was written by another version of this package", store=STORE
            )
        self.sweep()

    def begin(self) -> Incoming:
        """A new file, locked as long as its writer lives; `end` follows in any case."""
        while True:
            path = self.root / INCOMING / uuid4().hex
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            incoming = Incoming(os.open(path, flags, 0o600), path)
            fcntl.flock(incoming.handle, fcntl.LOCK_EX)
            if os.fstat(incoming.handle).st_nlink:
                return incoming
            os.close(incoming.handle)  # a sweep came between open and lock

    def end(self, incoming: Incoming) -> None:
        """Close the file, and remove it unless it was placed."""
        incoming.path.unlink(missing_ok=True)  # one that was placed has this name no more
        os.close(incoming.handle)

    def sweep(self) -> None:
        """Remove files whose writers are gone: those that nobody holds a lock on."""
        for path in (self.root / INCOMING).iterdir():
            with suppress(FileNotFoundError, BlockingIOError):
                handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                finally:
                    os.close(handle)

    @contextmanager
    def locked(self, relative: str) -> Iterator[None]:
        """Alone with one path, among all processes, from looking at it to having changed it."""
        stripe = f"{zlib.crc32(relative.encode()) % _STRIPES:02x}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(self.root / LOCKS / stripe, flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def place(self, incoming: Incoming, relative: str) -> None:
        """Give the file its name, over whatever has it; durable when this returns."""
        os.fsync(incoming.handle)
        target = self.root / relative
        for attempt in range(_ATTEMPTS):
            try:
                self._make_folders(target.parent)
                incoming.path.rename(target)
                break
            except FileNotFoundError:  # a deletion has just removed an empty folder
                if attempt == _ATTEMPTS - 1:
                    raise
        self.settle(relative)

    def settle(self, relative: str) -> None:
        """Make the names on the way to a file durable, whoever made them."""
        for folder in (self.root / relative).parents:
            _sync_folder(folder)
            if folder == self.root:
                break

    def remove(self, relative: str) -> None:
        """Remove a file durably, and the folders that it leaves empty. FileNotFoundError."""
        path = self.root / relative
        path.unlink()
        _sync_folder(path.parent)
        for folder in path.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone
                break

    def _make_folders(self, folder: Path) -> None:
        for each in reversed([folder, *folder.parents][: len(folder.relative_to(self.root).parts)]):
            with suppress(FileExistsError):  # not exist_ok, which fails if it is removed meanwhile
                each.mkdir(mode=0o700)


def _sync_folder(folder: Path) -> None:
    """A rename is durable when its directory is; a folder that is gone needs nothing."""
    with suppress(FileNotFoundError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
