"""One object on its way into the directory. Blocks; called in threads."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime

from neo_polystore.errors import CorruptDataError
from neo_polystore.objectkit.objects import Outcome
from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.files import header
from neo_polystore.stores.files.names import path_of
from neo_polystore.stores.files.volume import Incoming, Volume
from neo_polystore.stores.files.walk import read_header


@dataclass(frozen=True, slots=True)
class Stored:
    """The object that now has the name, without content, and whether it is the one given."""

    record: StoredObject
    outcome: Outcome


class ObjectWriter:
    """Takes the content in pieces; the object exists when `commit` has returned, or not at all.

    The file is whole and on disk before it gets its name, and the name is on disk before
    `commit` returns: a crash leaves what was there before, or the new object, and never a part.
    """

    def __init__(self, volume: Volume, bucket: str, name: str, content_type: str):
        self._volume = volume
        self._record = StoredObject(bucket=bucket, name=name, content_type=content_type)
        self._relative = path_of(bucket, name)
        self._kept = header.reserve(bucket, name, content_type)
        self._digest = hashlib.sha256()
        self._size = 0
        self._incoming: Incoming | None = None

    def begin(self) -> None:
        """Make the file aside; `end` follows in any case."""
        self._incoming = self._volume.begin()
        self._incoming.write(bytes(self._kept))

    def write(self, data: bytes | bytearray) -> None:
        """Append to the content."""
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def commit(self) -> Stored:
        """Make the object exist, unless the very same one does."""
        update = {
            "size": self._size,
            "sha256": self._digest.hexdigest(),
            "modified": datetime.now(UTC),
        }
        record = self._record.model_copy(update=update)
        os.pwrite(self._file.handle, header.encode(record, self._kept), 0)
        with self._volume.locked(self._relative):
            standing = existing(self._volume, record)
            if standing is not None:
                return Stored(standing, "existing")
            replaces = (self._volume.root / self._relative).exists()
            self._volume.place(self._file, self._relative)
        return Stored(record, "replaced" if replaces else "new")

    def end(self) -> None:
        """Let go of the file; harmless after `commit`, necessary in any case."""
        if self._incoming is not None:
            self._volume.end(self._incoming)
            self._incoming = None

    @property
    def _file(self) -> Incoming:
        if self._incoming is None:
            raise ValueError("not begun")
        return self._incoming


def existing(volume: Volume, record: StoredObject) -> StoredObject | None:
    """The stored object where it is the same one, made durable; whoever calls holds its lock.

    One with a damaged header or length is not the same: writing it again repairs it.
    """
    relative = path_of(record.bucket, record.name)
    try:
        found = read_header(volume.root / relative)
    except CorruptDataError:
        return None
    if found is None or (found.sha256, found.content_type) != (record.sha256, record.content_type):
        return None
    volume.settle(relative)  # another process may have been killed before it could
    return found
