"""Backs up objects: a list of them all, with their contents where they are to be copied.

The one stream is a sequence of objects. Each is a line of JSON (bucket, name, content type; of a
list without contents also size and SHA-256), and then, where contents are copied, blocks: four
bytes of length (big endian) and so many bytes, all of 1 MiB but the last, closed by a length of
zero.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import orjson

from neo_polystore.errors import BackupError, NotFoundError
from neo_polystore.objectkit.clearing import clear_objects
from neo_polystore.ports.backup import Backing, BackupScope, Phase, Saved, Snapshot, Stream
from neo_polystore.ports.objects import Objects
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.query import Query

STREAM = "objects"
_BLOCK = 1 << 20
_LENGTH = struct.Struct(">I")
_PAGE = 1_000


class Lifecycle(Protocol):
    """The part of a store that opens and closes it."""

    async def connect(self) -> None:
        """See `ports.store.Store`."""

    async def close(self) -> None:
        """See `ports.store.Store`."""


class ObjectsSnapshot:
    """No moment of all objects, but of each: an object is replaced as a whole or not at all.

    Taken after the rows that refer to objects, which are stored before such rows are written.
    """

    positions: Mapping[str, Any]
    excluded: Mapping[str, str]

    def __init__(self, port: Objects, *, content: bool):
        self._port = port
        self._content = content
        self._count = 0
        self.positions = {"content": content}
        self.excluded = {} if content else {"content": "objects are listed, not copied"}
        self.held = False

    def streams(self) -> Sequence[Stream]:
        """The one stream."""
        return [Stream(STREAM)]

    def rows(self, name: str) -> int | None:
        """The objects."""
        return self._count

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """All objects in the order of their keys; one that goes meanwhile is left out."""
        count = 0
        async for found in _listed(self._port):
            if not self._content:
                yield _line(found, listed=True)
                count += 1
                continue
            blocks = _blocks(self._port.open(found.bucket, found.name))
            try:
                first = await anext(blocks)
            except NotFoundError:
                continue
            yield _line(found, listed=False) + first
            async for block in blocks:
                yield block
            count += 1
        self._count = count


class ObjectsBacking:
    """The objects of one store, copied or only listed."""

    phase: Phase = "content"
    home: str | None = None

    def __init__(self, port: Objects, *, place: str, content: bool, open: Lifecycle):  # noqa: A002
        self._port = port
        self._place = place
        self._content = content
        self._open = open

    @property
    def place(self) -> str:
        """Where the objects are."""
        return self._place

    @asynccontextmanager
    async def before(self) -> AsyncIterator[Mapping[str, Any]]:
        """Nothing to be remembered."""
        yield {}

    @asynccontextmanager
    async def snapshot(self, scope: BackupScope) -> AsyncIterator[Snapshot]:
        """The objects as they are found."""
        await self._open.connect()
        yield ObjectsSnapshot(self._port, content=self._content)

    async def occupied(self, scope: BackupScope) -> str | None:
        """The first object there is; in nobody's way where objects are only compared."""
        if not self._content:
            return None
        await self._open.connect()
        async for found in _listed(self._port):
            return f"{self._place} holds objects, such as {found.key}"
        return None

    async def clear(self, scope: BackupScope) -> None:
        """Remove every object that was copied; what is only listed is not ours to remove."""
        if self._content:
            await self._open.connect()
            await clear_objects(self._port, store="objects", dry_run=False)

    async def restore(self, saved: Saved, scope: BackupScope) -> dict[str, int]:
        """Store the objects; of a list without contents, see that they are there unchanged.

        BackupError names those that are not.
        """
        await self._open.connect()
        reader = _Reader(saved.read(STREAM))
        buckets: dict[str, int] = {}
        wanted: dict[str, str] = {}
        while (line := await reader.line()) is not None:
            head = orjson.loads(line)
            buckets[head["bucket"]] = buckets.get(head["bucket"], 0) + 1
            if saved.positions.get("content"):
                await self._port.put(
                    head["bucket"],
                    head["name"],
                    reader.blocks(),
                    content_type=head["content_type"],
                )
            else:
                wanted[f"{head['bucket']}/{head['name']}"] = head["sha256"]
        if wanted:
            await self._compare(wanted)
        return buckets

    async def _compare(self, wanted: dict[str, str]) -> None:
        async for found in _listed(self._port):
            if wanted.get(found.key) == found.sha256:
                del wanted[found.key]
        if wanted:
            raise BackupError(
                f"{len(wanted)} objects of the list are gone or changed, such as {min(wanted)}"
            )


class _Reader:
    """Takes lines and blocks from a stream of pieces."""

    def __init__(self, pieces: AsyncIterator[bytes]):
        self._pieces = pieces
        self._buffer = bytearray()

    async def line(self) -> bytes | None:
        while (end := self._buffer.find(b"\n")) < 0:
            if not await self._more():
                if self._buffer:
                    raise BackupError("the stream of objects ends in the middle of one")
                return None
        return self._take(end + 1)

    async def blocks(self) -> AsyncIterator[bytes]:
        while length := _LENGTH.unpack(await self._exactly(_LENGTH.size))[0]:
            yield await self._exactly(length)

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not await self._more():
                raise BackupError("the stream of objects ends in the middle of one")
        return self._take(size)

    async def _more(self) -> bool:
        async for piece in self._pieces:
            self._buffer += piece
            return True
        return False

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


async def _listed(port: Objects) -> AsyncIterator[StoredObject]:
    query = Query(limit=_PAGE)
    while True:
        page = await port.find(query)
        for record in page.records:
            yield record
        if page.next is None:
            return
        query = Query(limit=_PAGE, after=page.next)


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The content as blocks; the first is fetched before any line is written about the object."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        while len(waiting) >= _BLOCK:
            yield _LENGTH.pack(_BLOCK) + bytes(waiting[:_BLOCK])
            del waiting[:_BLOCK]
    last = _LENGTH.pack(len(waiting)) + bytes(waiting) if waiting else b""
    yield last + _LENGTH.pack(0)


def _line(found: StoredObject, *, listed: bool) -> bytes:
    head = {"bucket": found.bucket, "name": found.name, "content_type": found.content_type}
    if listed:
        head |= {"size": str(found.size), "sha256": found.sha256 or ""}
    return orjson.dumps(head) + b"\n"


_: type[Backing] = ObjectsBacking
