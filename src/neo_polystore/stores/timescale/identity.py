"""A series as the tables name it: its ids, and its tags as JSON."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from neo_polystore.pgkit import exact_json
from neo_polystore.records.metrics import series_id, service_id


class Identity(NamedTuple):
    """A series; `key` are the bytes of its id, `tags` is JSON text."""

    key: bytes
    id: UUID
    service_id: UUID
    service: str
    name: str
    tags: str


def identity_of(service: str, name: str, tags: Mapping[str, str]) -> Identity:
    """The identity of a series, remembered: hashing and encoding it costs more than a point does.

    Raises ValueError for tags that jsonb cannot hold.
    """
    return _identity(service, name, tuple(tags.items()))


@lru_cache(maxsize=50_000)
def _identity(service: str, name: str, tags: tuple[tuple[str, str], ...]) -> Identity:
    text = exact_json.dumps(dict(tags))
    series = series_id(service, name, dict(tags))
    return Identity(series.bytes, series, _service(service), service, name, text)


@lru_cache(maxsize=10_000)
def _service(service: str) -> UUID:
    return service_id(service)


_UUID = struct.pack(">i", 16)


def copied(identity: Identity, unit: str | None) -> bytes:
    """The last fields of a series' rows in binary COPY: id, service, name, tags and unit."""
    parts = [_UUID, identity.key, _UUID, identity.service_id.bytes]
    for text in (identity.name.encode(), b"\x01" + identity.tags.encode()):  # 1: jsonb's version
        parts += struct.pack(">i", len(text)), text
    if unit is None:
        parts.append(b"\xff\xff\xff\xff")
    else:
        encoded = unit.encode()
        parts += struct.pack(">i", len(encoded)), encoded
    return b"".join(parts)
