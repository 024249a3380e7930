"""Content on its way, put aside where nobody can read it: sealed under a key of its own."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

from neo_polystore.errors import UnavailableError
from neo_polystore.records.sealing import Binding, Identity, ServiceOwner
from neo_polystore.sealing.blob import CHUNK
from neo_polystore.sealing.derivation import MASTER, MasterKey
from neo_polystore.sealing.envelope import LONGEST_HEADER, TAG, Buffer
from neo_polystore.sealing.stream import StreamOpener, StreamSealer

IN_MEMORY: Final = 1 << 22
"""Bytes from which on it lies in a file, which has no name and goes with the process."""

_BINDING: Final = Binding(
    ServiceOwner("spool"), "spool", "", Identity(policy="USER_DEFINED", label="spool"), 1
)


class Spool:
    """Written once, then read as often as one likes. The key never leaves this object."""

    def __init__(self) -> None:
        self._key = MasterKey("spool", secrets.token_bytes(MASTER))
        self._file = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=IN_MEMORY))  # noqa: SIM115
        self._sealer = StreamSealer(self._file, master=self._key, binding=_BINDING)
        self._mac = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._key.wipe()
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self._sealer.size

    def write(self, part: Buffer) -> None:
        """Take the next bytes; UnavailableError where there is no room for them."""
        try:
            self._sealer.write(part)
        except OSError as error:
            raise UnavailableError(f"no room for the content: {error.strerror}") from None

    def finish(self) -> None:
        """There is no more to come."""
        self._mac = self._sealer.finish()

    def parts(self) -> Iterator[memoryview]:
        """The content, part by part; IntegrityError where the file was altered."""
        file = self._file
        length = file.seek(0, 2)
        beginning = self._read(0, LONGEST_HEADER)
        opener = StreamOpener.of(beginning, length, master=self._key, binding=_BINDING)
        opener.check([self._read(at, TAG) for at in opener.tags()], self._mac)
        for number, (at, size) in enumerate(opener.chunks()):
            yield opener.open(number, self._read(at, size))

    def _read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        return self._file.read(size)


class Resealed:
    """The sealed form of parts under another key, made while it is read; `mac` afterwards."""

    def __init__(self, parts: Iterator[memoryview], *, master: MasterKey, binding: Binding):
        self._parts = parts
        self._made: list[bytes] = []
        self._sealer = StreamSealer(
            cast(BinaryIO, self), master=master, binding=binding, chunk=CHUNK
        )
        self.mac = b""

    def write(self, sealed: Buffer) -> None:
        """As the sealer's file."""
        self._made.append(bytes(sealed))

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self._sealer.write(part)
            yield from self._taken()
        self.mac = self._sealer.finish()
        yield from self._taken()

    def _taken(self) -> list[bytes]:
        made, self._made = self._made, []
        return made
