"""What a cache holds of a record: the record or its absence, for whom, in which model's shape."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import orjson
from pydantic import ValidationError as PydanticError
from pydantic_core import PydanticSerializationError

from neo_polystore.records.base import Record

R = TypeVar("R", bound=Record)

LARGEST = 1 << 20
"""Bytes of the largest entry that is worth the cache's memory."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[R]):
    """A record, or None for one that is known to be absent."""

    record: R | None


def encode(entry: Entry[R], *, model: type[R], owner: str) -> bytes | None:
    """The entry as one header line and the record's JSON; None where it must not be cached.

    An entry is cached only if reading it back gives an equal record. That leaves out, record by
    record, whatever JSON or the model would not carry: excluded (secret) fields that hold a
    value, NaN, text that is no Unicode.
    """
    header = f"{_shape(model)} {owner}\n".encode()
    if entry.record is None:
        return header
    try:
        payload = header + entry.record.model_dump_json(by_alias=True).encode()
    except (PydanticSerializationError, UnicodeEncodeError):
        return None
    if len(payload) > LARGEST or decode(payload, model=model, owner=owner) != entry:
        return None
    return payload


def decode(payload: bytes, *, model: type[R], owner: str) -> Entry[R] | None:
    """The entry, or None where it is another owner's, another version's, or not one of ours."""
    header, separator, body = payload.partition(b"\n")
    if not separator or header != f"{_shape(model)} {owner}".encode():
        return None
    if not body:
        return Entry(None)
    try:
        return Entry(model.model_validate_json(body))
    except PydanticError:
        return None


@lru_cache
def _shape(model: type[Record]) -> str:
    """Changes with the model's fields, so that no version reads what another one wrote."""
    schema = orjson.dumps(model.model_json_schema(), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(schema).hexdigest()[:12]
