"""One object's content on its way out, with its checksum. Blocks; called in threads."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from neo_polystore.errors import IntegrityError
from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.files import header
from neo_polystore.stores.files.errors import STORE


class ObjectReader:
    """Reads the object that had the name at `open`; replacing or deleting it changes nothing."""

    def __init__(self, path: Path):
        self._path = path
        self._handle: int | None = None
        self._place = 0
        self._digest = hashlib.sha256()

    def open(self) -> StoredObject:
        """The object without content; FileNotFoundError. `close` follows in any case."""
        self._handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        found = header.read(self._handle, str(self._path))
        self._place = found.start
        return found.record

    def read(self, size: int) -> bytes:
        """The next bytes of the content; none at its end."""
        if self._handle is None:
            raise ValueError("not open")
        chunk = os.pread(self._handle, size, self._place)
        self._place += len(chunk)
        self._digest.update(chunk)
        return chunk

    def check(self, record: StoredObject) -> None:
        """After the last byte: raises IntegrityError unless the content is what was stored."""
        if (digest := self._digest.hexdigest()) != record.sha256:
            raise IntegrityError(
                f"{record.key}: the content's SHA-256 is {digest}, stored was {record.sha256}",
                store=STORE,
                operation="read",
            )

    def close(self) -> None:
        """Let go of the file; harmless when it was never open."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
