"""What a cache holds of a record: the record or its absence, for whom, in which model's shape.

An entry is a line, a block of fixed size, and the record's JSON (nothing for absence):

    {shape} {epoch} {owner}
    checksum (4 bytes), expires (8), seconds of the load (4), a number of its own (8)

`shape` changes with the model, `epoch` with the server (see `Cache.epoch`), `checksum` is CRC-32
of what comes behind it, `expires` the Unix time up to which the filler wanted it. Numbers are
big-endian, times are floats.
"""

from __future__ import annotations

import hashlib
import random
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Generic, Literal, TypeVar, cast
from zlib import crc32

import orjson

from neo_polystore.records.base import Record
from neo_polystore.wrappers.cached.codec import NotCarriedError, codec

R = TypeVar("R", bound=Record)

LARGEST = 1 << 20
"""Bytes of the largest entry that is worth the cache's memory, where nothing else is said."""

_BLOCK: Final = struct.Struct(">IdfQ")
_TIMES: Final = struct.Struct(">dfQ")
_CHECKSUM: Final = 4
_LINE: Final = re.compile(rb"([0-9a-f]{12}) (\w*) (.+)")

Fault = Literal["foreign", "outdated", "corrupt"]


@dataclass(slots=True, eq=False)
class Entry(Generic[R]):
    """A record, or None for one that is known to be absent.

    `expires` (Unix time) and `cost` (seconds of the load) tell when to renew it ahead of time.
    """

    record: R | None
    expires: float = 0.0
    cost: float = 0.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self.record == other.record


def encode(
    entry: Entry[R], *, model: type[R], owner: str, epoch: str = "", largest: int = LARGEST
) -> bytes | None:
    """The entry's bytes; None where it must not be cached.

    An entry is cached only if reading it back gives an equal record. That leaves out, record by
    record, whatever JSON would not carry: excluded (secret) fields that hold a value, NaN, text
    that is no Unicode.
    """
    body = b""
    if entry.record is not None:
        try:
            body = codec(model).dump(entry.record)
        except NotCarriedError:
            return None
    rest = _TIMES.pack(entry.expires, entry.cost, random.getrandbits(64)) + body
    payload = b"".join(
        (_beginning(model, epoch, owner), crc32(rest).to_bytes(_CHECKSUM, "big"), rest)
    )
    if len(payload) > largest:
        return None
    if entry.record is None or codec(model).exact:
        return payload
    return payload if decode(payload, model=model, owner=owner, epoch=epoch) == entry else None


def decode(payload: bytes, *, model: type[R], owner: str, epoch: str = "") -> Entry[R] | None:
    """The entry, or None where it is of no use to this reader; `fault` then says why."""
    beginning = _beginning(model, epoch, owner)
    if not payload.startswith(beginning):
        return None
    at = len(beginning)
    try:
        checksum, expires, cost, _ = _BLOCK.unpack_from(payload, at)
        if crc32(payload[at + _CHECKSUM :]) != checksum:
            return None
        body = payload[at + _BLOCK.size :]
        return Entry(cast("R", codec(model).load(body)) if body else None, expires, cost)
    except (ValueError, TypeError, KeyError, struct.error):
        return None


def head(payload: bytes) -> bytes:
    """The beginning of an entry that no other one has."""
    return payload[: payload.index(b"\n") + 1 + _BLOCK.size]


def fault(payload: bytes, *, model: type[R], owner: str, epoch: str = "") -> Fault:
    """Why `decode` answered None: written for another owner, by another version or before the
    server changed, or no entry of ours."""
    parts = _LINE.fullmatch(payload[:1024].partition(b"\n")[0])
    if parts is None:
        return "corrupt"
    shape, found, whose = parts.groups()
    if (shape, found) != (_shape(model), epoch.encode()):
        return "outdated"
    return "corrupt" if whose == owner.encode() else "foreign"


def is_for(payload: bytes, owner: str) -> bool:
    """Whether an entry is for this owner, under whatever versions of its tags."""
    parts = _LINE.fullmatch(payload[:1024].partition(b"\n")[0])
    return parts is not None and (parts[3] + b" ").startswith(f"{owner} ".encode())


@lru_cache(maxsize=1024)
def _beginning(model: type[Record], epoch: str, owner: str) -> bytes:
    return _shape(model) + f" {epoch} {owner}\n".encode()


@lru_cache
def _shape(model: type[Record]) -> bytes:
    """Changes with the model's fields, so that no version reads what another one wrote."""
    schema = orjson.dumps([3, model.model_json_schema()], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(schema).hexdigest()[:12].encode()
