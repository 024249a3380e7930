"""The archive layout of `mongodump --archive`: one file with the collections of a database.

A magic number; then a header and a description of each collection, as BSON documents; then blocks.
A block begins with a document that names its collection and goes on with that collection's own
documents; the last block of a collection is empty and tells the CRC-64 (ECMA-182, reflected) of
all of them. Everything ends with four bytes of ones. Source of the format: `common/archive` of
mongodb/mongo-tools (https://github.com/mongodb/mongo-tools), format version 0.1.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import bson
from bson import json_util
from bson.errors import BSONError
from bson.int64 import Int64
from fastcrc import crc64

from neo_polystore.errors import IntegrityError

MAGIC = (0x8199E26D).to_bytes(4, "little")
TERMINATOR = b"\xff\xff\xff\xff"
_FORMAT = "0.1"
# What the server that writes it is makes no difference to what we archive; the one that it was is
# said in the manifest.
_SERVER, _TOOL = "6.0.0", "100.0.0"
_LENGTH = struct.Struct("<I")
_LARGEST = 48 << 20
"""Bytes of the largest document that mongorestore reads."""

_AT_ONCE = 1_000

_EMPTY = 0
"""The CRC of no bytes."""


@dataclass(frozen=True, slots=True)
class Described:
    """A collection: its options and indexes as the server lists them, which it also takes."""

    name: str
    options: dict[str, Any]
    indexes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents of a collection, as they were stored; `last` after the last of them."""

    collection: str
    documents: list[bytes]
    last: bool = False


def prelude(database: str, collections: Sequence[Described]) -> bytes:
    """The beginning of an archive."""
    head: dict[str, Any] = {
        "concurrent_collections": 1,
        "version": _FORMAT,
        "server_version": _SERVER,
        "tool_version": _TOOL,
    }
    parts = [MAGIC, bson.encode(head)]
    for each in collections:
        metadata = {
            "options": each.options,
            "indexes": each.indexes,
            "collectionName": each.name,
            "type": "collection",
        }
        parts.append(
            bson.encode(
                {
                    "db": database,
                    "collection": each.name,
                    "metadata": json_util.dumps(
                        metadata, json_options=json_util.CANONICAL_JSON_OPTIONS
                    ),
                    "size": Int64(0),
                    "type": "collection",
                }
            )
        )
    return b"".join(parts) + TERMINATOR


async def collection_blocks(
    database: str, name: str, batches: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """A collection's blocks; a batch is any number of whole documents."""
    crc = _EMPTY
    async for batch in batches:
        if batch:
            yield _namespace(database, name) + batch + TERMINATOR
            crc = crc64.xz(batch, crc)
    yield _namespace(database, name, eof=True, crc=crc) + TERMINATOR


def _namespace(database: str, name: str, *, eof: bool = False, crc: int = 0) -> bytes:
    signed = crc - (1 << 64) if crc >> 63 else crc
    return bson.encode({"db": database, "collection": name, "EOF": eof, "CRC": Int64(signed)})


def count(batch: bytes) -> int:
    """How many documents a batch is."""
    return sum(1 for _ in _cut(batch))


def _cut(batch: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(batch):
        (size,) = _LENGTH.unpack_from(batch, place)
        yield batch[place : place + size]
        place += size


async def read_archive(
    pieces: AsyncIterator[bytes],
) -> AsyncIterator[list[Described] | Documents]:
    """First the descriptions of all collections, then their documents, block by block.

    Raises IntegrityError for what is no such archive, or not a whole one.
    """
    source = _Source(pieces)
    if await source.take(4) != MAGIC:
        raise IntegrityError("does not begin as an archive of mongodump")
    head = _decoded(await source.document())
    if head.get("version") != _FORMAT:
        raise IntegrityError(f"is an archive of version {head.get('version')!r}, not {_FORMAT}")
    described = []
    while (document := await source.document()) is not None:
        described.append(_described(_decoded(document)))
    yield described
    open_crcs = {each.name: _EMPTY for each in described}
    while not await source.ended():
        namespace = _decoded(await source.document())
        name = namespace.get("collection")
        if name not in open_crcs:
            raise IntegrityError(f"has a block of {name!r}, which has ended or is no collection")
        async for documents in source.documents():
            for document in documents:
                open_crcs[name] = crc64.xz(document, open_crcs[name])
            yield Documents(name, documents)
        if namespace.get("EOF"):
            if open_crcs.pop(name) != int(namespace.get("CRC", 0)) % (1 << 64):
                raise IntegrityError(f"{name}: its documents are not those that were archived")
            yield Documents(name, [], last=True)
    if open_crcs:
        raise IntegrityError(f"ends before {min(open_crcs)} does")


def _described(found: dict[str, Any]) -> Described:
    metadata = json_util.loads(
        found.get("metadata") or "{}",
        json_options=json_util.CANONICAL_JSON_OPTIONS.with_options(document_class=dict),
    )
    return Described(found["collection"], metadata.get("options", {}), metadata.get("indexes", []))


def _decoded(document: bytes | None) -> dict[str, Any]:
    try:
        return bson.decode(document or b"")
    except BSONError as error:
        raise IntegrityError(f"has a header that is no BSON: {error}") from None


class _Source:
    """Documents and terminators, from pieces of any size."""

    def __init__(self, pieces: AsyncIterator[bytes]):
        self._pieces = pieces
        self._buffer = bytearray()

    async def take(self, size: int) -> bytes:
        """So many bytes; fewer only at the end."""
        while len(self._buffer) < size:
            piece = await anext(self._pieces, None)
            if piece is None:
                break
            self._buffer += piece
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def document(self) -> bytes | None:
        """The next document, None for a terminator."""
        head = await self.take(4)
        if head == TERMINATOR:
            return None
        size = _LENGTH.unpack(head)[0] if len(head) == 4 else 0
        if not 5 <= size <= _LARGEST:
            raise IntegrityError("is cut short, or has something that is no document")
        body = await self.take(size - 4)
        if len(body) != size - 4:
            raise IntegrityError("is cut short")
        return head + body

    async def documents(self) -> AsyncIterator[list[bytes]]:
        """The documents up to a terminator, some at a time: a block may be a whole collection."""
        documents: list[bytes] = []
        while (document := await self.document()) is not None:
            documents.append(document)
            if len(documents) == _AT_ONCE:
                yield documents
                documents = []
        if documents:
            yield documents

    async def ended(self) -> bool:
        """Whether there is nothing more."""
        if not self._buffer:
            self._buffer += await anext(self._pieces, b"")
        return not self._buffer
