"""Where backups go: a directory or a bucket, behind one protocol.

Everything that is stored is small enough to be sent at once (parts are cut before), so a name is
there with all of its bytes or not at all. Methods block and may be called from several threads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from neo_polystore.errors import BackupError, ConfigError, NotFoundError, UnavailableError

_INCOMING = ".incoming-"


@dataclass(frozen=True, slots=True)
class Item:
    """One stored name and how many bytes it has."""

    name: str
    size: int


class Target(Protocol):
    """Named bytes. Names are relative paths with `/`."""

    @property
    def place(self) -> str:
        """The address, for people."""

    def check(self, *, writing: bool) -> None:
        """Whether it can be used; ConfigError or UnavailableError with the reason."""

    def put(self, name: str, data: bytes) -> None:
        """Store durably, replacing what has the name."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Store durably unless something has the name; whether it was stored."""

    def get(self, name: str, *, most: int) -> bytes:
        """All bytes; NotFoundError, and BackupError for more than `most` of them."""

    def list(self, prefix: str = "") -> Iterator[Item]:
        """Everything whose name begins so, to the last page."""

    def delete(self, name: str) -> None:
        """Remove; harmless where there is nothing."""

    def below(self, folder: str) -> Target:
        """What lies in a folder, as a target of its own; not to be closed by itself."""

    def close(self) -> None:
        """Let go of connections."""


class DirectoryTarget:
    """A directory: files are written aside, synced and renamed into place."""

    def __init__(self, root: Path):
        self._root = root

    @property
    def place(self) -> str:
        """The directory."""
        return str(self._root)

    def check(self, *, writing: bool) -> None:
        """Make the directory for writing; ConfigError where it cannot be used."""
        with _translated(self.place):
            if writing:
                self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._root.is_dir():
                raise ConfigError(f"{self._root}: no such directory", operation="backup")
            wanted = os.R_OK | os.X_OK | (os.W_OK if writing else 0)
            if not os.access(self._root, wanted):
                raise ConfigError(f"{self._root}: permission denied", operation="backup")

    def put(self, name: str, data: bytes) -> None:
        """Atomic and durable."""
        with self._written(name, data) as (aside, path):
            aside.replace(path)

    def put_new(self, name: str, data: bytes) -> bool:
        """Atomic and durable; a name that was taken stays as it is."""
        with self._written(name, data) as (aside, path):
            try:
                path.hardlink_to(aside)
                is_new = True
            except FileExistsError:
                is_new = False
            aside.unlink()
        return is_new

    @contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[tuple[Path, Path]]:
        """The bytes, safe in a file aside, which the block gives its place in the folder."""
        path = self._path(name)
        aside = path.with_name(f"{_INCOMING}{uuid4().hex}")
        with _translated(name):
            made = _make_folders(path.parent)
            try:
                with aside.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                yield aside, path
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
            for folder in (path.parent, *made):
                _sync(folder)

    def get(self, name: str, *, most: int) -> bytes:
        """The file."""
        with _translated(name):
            try:
                with self._path(name).open("rb") as file:
                    data = file.read(most + 1)
            except FileNotFoundError:
                raise NotFoundError(f"{name} is missing", operation="backup") from None
        if len(data) > most:
            raise BackupError(f"{name} is larger than {most} bytes")
        return data

    def list(self, prefix: str = "") -> Iterator[Item]:
        """The files below; those that are just being written are none yet."""
        folder = self._path(prefix.rpartition("/")[0]) if "/" in prefix else self._root
        with _translated(prefix):
            for place, folders, files in os.walk(folder):
                if Path(place) == self._root:
                    folders[:] = [n for n in folders if n.startswith(prefix.split("/")[0])]
                for file in files:
                    path = Path(place) / file
                    name = path.relative_to(self._root).as_posix()
                    if name.startswith(prefix) and not file.startswith(_INCOMING):
                        yield Item(name, path.stat().st_size)

    def leftovers(self, prefix: str) -> Iterator[str]:
        """Names of what a kill left half-written."""
        for place, _, files in os.walk(self._path(prefix)):
            for file in files:
                if file.startswith(_INCOMING):
                    yield (Path(place) / file).relative_to(self._root).as_posix()

    def delete(self, name: str) -> None:
        """Remove the file, and folders that are empty then."""
        path = self._path(name)
        with _translated(name):
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._root or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()

    def below(self, folder: str) -> DirectoryTarget:
        """A directory in this one."""
        return DirectoryTarget(self._path(folder))

    def close(self) -> None:
        """Nothing is held."""

    def _path(self, name: str) -> Path:
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise BackupError(f"{name!r} is no name of a backup")
        return self._root / name


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise BackupError(f"{what}: the target is full: {error.strerror}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ConfigError(f"{what}: {error.strerror}", operation="backup") from error
        raise UnavailableError(f"{what}: {error.strerror}", operation="backup") from error


def _make_folders(folder: Path) -> list[Path]:
    """Make what is missing; answers the folders that got a new entry."""
    changed = []
    missing = folder
    while not missing.exists():
        changed.append(missing.parent)
        missing = missing.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return changed


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
