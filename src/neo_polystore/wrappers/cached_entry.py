"""What a cache holds of a record: the record or its absence, for whom, in which model's shape.

An entry is a header line and the record's JSON:

    {shape} {epoch} {owner} {checksum} {expires} {seconds of the load} {lease}

`shape` changes with the model, `epoch` with the server (see `Cache.epoch`), `checksum` is CRC-32
of the JSON, `expires` the Unix time up to which the filler wanted it, and `lease` is unique.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Literal, TypeVar, cast
from zlib import crc32

import orjson

from neo_polystore.records.base import Record
from neo_polystore.wrappers.cached_codec import NotCarriedError, codec

R = TypeVar("R", bound=Record)

LARGEST = 1 << 20
"""Bytes of the largest entry that is worth the cache's memory, where nothing else is said."""

Fault = Literal["foreign", "outdated", "corrupt"]


@dataclass(slots=True, eq=False)
class Entry(Generic[R]):
    """A record, or None for one that is known to be absent.

    `expires` (Unix time) and `cost` (seconds of the load) tell when to renew it ahead of time;
    `head` is the beginning that no other entry has.
    """

    record: R | None
    expires: float = 0.0
    cost: float = 0.0
    head: bytes = b""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self.record == other.record


def encode(
    entry: Entry[R],
    *,
    model: type[R],
    owner: str,
    epoch: str = "",
    lease: str = "",
    largest: int = LARGEST,
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
    rest = f"{crc32(body)} {entry.expires:.3f} {entry.cost:.6f} {lease}\n"
    payload = _beginning(model, epoch, owner) + rest.encode() + body
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
    header, _, body = payload.partition(b"\n")
    try:
        checksum, expires, cost, _ = header[len(beginning) :].split(b" ")
        if crc32(body) != int(checksum):
            return None
        record = cast("R", codec(model).load(body)) if body else None
        return Entry(record, float(expires), float(cost), header)
    except (ValueError, TypeError, KeyError):
        return None


def fault(payload: bytes, *, model: type[R], owner: str, epoch: str = "") -> Fault:
    """Why `decode` answered None: written for another owner, by another version or before the
    server changed, or no entry of ours."""
    parts = payload[:1024].partition(b"\n")[0].split(b" ")
    if len(parts) < 7:
        return "corrupt"
    shape, found, *whose = parts[:-4]
    if (shape, found) != (_shape(model), epoch.encode()):
        return "outdated"
    return "corrupt" if b" ".join(whose) == owner.encode() else "foreign"


@lru_cache(maxsize=1024)
def _beginning(model: type[Record], epoch: str, owner: str) -> bytes:
    return _shape(model) + f" {epoch} {owner} ".encode()


@lru_cache
def _shape(model: type[Record]) -> bytes:
    """Changes with the model's fields, so that no version reads what another one wrote."""
    schema = orjson.dumps([2, model.model_json_schema()], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(schema).hexdigest()[:12].encode()
