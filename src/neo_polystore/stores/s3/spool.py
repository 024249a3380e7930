"""Content on its way to S3, whose SHA-256 must be known before it is sent. Blocks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import NamedTemporaryFile, _TemporaryFileWrapper


class Spool:
    """Bytes in memory up to a limit, and in a file of their own (mode 0600) beyond.

    S3 takes an object's metadata when its upload begins. Sending parts while they come would
    mean sending the checksum afterwards, in a second request that a crash can prevent.
    """

    def __init__(self, limit: int, directory: Path | None = None):
        self._limit = limit
        self._directory = directory
        self._digest = hashlib.sha256()
        self._memory = bytearray()
        self._file: _TemporaryFileWrapper[bytes] | None = None
        self.size = 0

    def write(self, data: bytes | bytearray) -> None:
        """Append."""
        self._digest.update(data)
        self.size += len(data)
        if self._file is None and self.size > self._limit:
            self._file = NamedTemporaryFile(  # noqa: SIM115 - closed by `close`
                dir=self._directory, prefix="neo-polystore-"
            )
            self._file.write(self._memory)
            self._memory = bytearray()
        if self._file is None:
            self._memory += data
        else:
            self._file.write(data)

    @property
    def sha256(self) -> str:
        """Of everything written so far, in hexadecimal."""
        return self._digest.hexdigest()

    @property
    def memory(self) -> bytes:
        """The content, where it has not outgrown the limit."""
        return bytes(self._memory)

    def path(self) -> str | None:
        """The file with the content, complete on return; None where it is in memory."""
        if self._file is None:
            return None
        self._file.flush()
        return self._file.name

    def close(self) -> None:
        """Remove the file; harmless without one."""
        if self._file is not None:
            self._file.close()
