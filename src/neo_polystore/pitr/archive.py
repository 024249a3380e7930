"""The archive of WAL: whole files of one cluster, each stored once and never replaced.

`wal/<system identifier>/<first 16 digits>/<file>.wal`; a stored file is

    NEOWAL1\\0, SHA-256 of the content (32 bytes), its length (8, big-endian), then a part

with the part as in `backup/parts.py`: a zstd frame, under a key sealed in chunks of AES-256-GCM.
Imported by the archiver's process for each segment, so it imports little.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.parts import MAGIC as SEALED
from neo_polystore.backup.parts import seal, unseal
from neo_polystore.backup.targets import Item, Target
from neo_polystore.errors import BackupError, ConflictError, IntegrityError, NotFoundError
from neo_polystore.pitr.names import check_name, segment_of

MAGIC = b"NEOWAL1\0"
LARGEST = (1 << 30) + (32 << 20)
"""Bytes of the largest stored file: PostgreSQL's largest segment, and what sealing adds."""

FOLDER = "wal/"
_HEAD = struct.Struct(">8s32sQ")
_PAGE = struct.Struct("=HHIQI4xQII")
"""The header of a segment's first page (xlog_internal.h, XLogLongPageHeaderData)."""


def system_of(data: Path) -> str:
    """The system identifier of the cluster in a data directory: pg_control's first 8 bytes."""
    try:
        with (data / "global" / "pg_control").open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise BackupError(f"{data} is no data directory of PostgreSQL: {error.strerror}") from None
    return str(struct.unpack("=Q", head)[0])


def systems_of(target: Target) -> list[str]:
    """Every cluster of which there is WAL. Blocks."""
    return sorted({item.name.split("/")[1] for item in target.list(FOLDER)})


class WalArchive:
    """WAL of the cluster with this system identifier. Blocks."""

    def __init__(self, target: Target, key: BackupKey | None, system: str):
        if not system.isdigit():
            raise BackupError(f"{system!r} is no system identifier")
        self.system = system
        self._target = target
        self._key = key
        self._folder = f"{FOLDER}{system}/"

    def push(self, path: Path, name: str) -> bool:
        """Store a file durably; False where it was there already, to the byte.

        Raises ConflictError where another file has the name, IntegrityError where the file is not
        what its name says, or what is stored under it cannot be read.
        """
        content = path.read_bytes()
        self._check(content, check_name(name))
        self._target.check(writing=False)  # never into the folder where it should be mounted
        if self._target.put_new(self._stored(name), self._dump(content, name)):
            return True
        if self.fetch(name) != content:
            raise ConflictError(
                f"another {name} is in {self._target.place}: two clusters archive to one place, or"
                " one was restored without its timeline. Nothing was replaced",
                operation="wal push",
            )
        return False

    def fetch(self, name: str) -> bytes:
        """A file's content, checked.

        Raises NotFoundError where the archive does not have it, and BackupError where it has
        nothing of this cluster at all: it may not be mounted.
        """
        try:
            data = self._target.get(self._stored(check_name(name)), most=LARGEST)
        except NotFoundError:
            self._target.check(writing=False)
            if next(iter(self._target.list(self._folder)), None) is None:
                raise BackupError(
                    f"{self._target.place} has no WAL of the cluster {self.system}"
                ) from None
            raise NotFoundError(f"{name} is not in {self._target.place}") from None
        content = self._load(data, name)
        self._check(content, name)
        return content

    def list(self) -> Iterator[Item]:
        """Every file by its own name, with the bytes that it takes."""
        for item in self._target.list(self._folder):
            name = item.name.rpartition("/")[2]
            if name.endswith(".wal"):
                yield Item(name.removesuffix(".wal"), item.size)

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        stored = self._stored(check_name(name))
        return any(item.name == stored for item in self._target.list(stored))

    def remove(self, name: str) -> None:
        """Remove a file, for pruning."""
        self._target.delete(self._stored(check_name(name)))

    def _stored(self, name: str) -> str:
        folder = f"{name[:16]}/" if segment_of(name[:24]) else ""
        return f"{self._folder}{folder}{name}.wal"

    def _place(self, name: str) -> str:
        return f"wal/{self.system}/{name}"

    def _dump(self, content: bytes, name: str) -> bytes:
        sealed = seal(content, place=self._place(name), key=self._key)
        head = _HEAD.pack(MAGIC, bytes.fromhex(sealed.content_sha256), len(content))
        return head + sealed.data

    def _load(self, data: bytes, name: str) -> bytes:
        if len(data) < _HEAD.size or not data.startswith(MAGIC):
            raise IntegrityError(f"{name} is not laid out as archived WAL")
        _, digest, size = _HEAD.unpack_from(data)
        part = data[_HEAD.size :]
        if self._key is not None and not part.startswith(SEALED):
            raise IntegrityError(f"{name} is not encrypted, although NEO_BACKUP_KEY is set")
        return unseal(
            part,
            place=self._place(name),
            key=self._key,
            content_bytes=size,
            content_sha256=digest.hex(),
        )

    def _check(self, content: bytes, name: str) -> None:
        """A segment says of itself which it is, and of which cluster."""
        if segment_of(name) is None:
            return
        if len(content) < _PAGE.size:
            raise IntegrityError(f"{name} is cut short: {len(content)} bytes")
        _, _, timeline, address, _, system, size, _ = _PAGE.unpack_from(content)
        if str(system) != self.system:
            raise IntegrityError(f"{name} is of the cluster {system}, not {self.system}")
        if size != len(content):
            raise IntegrityError(f"{name} has {len(content)} bytes, not {size}")
        segment = segment_of(name, size)
        # the first segment of a timeline begins as a copy of its parent's
        if segment is None or address != segment.number * size or timeline > segment.timeline:
            raise IntegrityError(f"{name} holds other WAL than its name says")
