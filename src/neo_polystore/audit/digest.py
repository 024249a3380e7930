"""What an entry was, as 32 bytes: the same for every engine that keeps it."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from neo_polystore.errors import CorruptDataError
from neo_polystore.ports.audit import Sealed
from neo_polystore.records.documents import Document
from neo_polystore.records.values import date_text


def digest_of(entry: Document) -> bytes:
    """SHA-256 of the entry as JSON: names sorted, no spaces, UTF-8, dates marked and in UTC."""
    return _digest(entry.body())


def sealed(entry: Document) -> Sealed | None:
    """The entry as its chain is given it; None for one from elsewhere, which no tenant has."""
    body = entry.body()
    try:
        tenant = UUID(body["tenant_id"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    when = body.get("timestamp")
    if not isinstance(when, datetime):
        raise CorruptDataError(f"audit entry {entry.key!r} has no time")
    return Sealed(tenant, when.date(), entry.key, _digest(body))


def _digest(body: dict[str, Any]) -> bytes:
    return hashlib.sha256(_text(body)).digest()


def _text(body: dict[str, Any]) -> bytes:
    """As Python's own encoder writes it, whose text of numbers is part of the format."""
    try:
        text = orjson.dumps(body, default=_date, option=_OPTIONS)
    except orjson.JSONEncodeError:  # a number or text that it does not write
        return _ENCODE(body).encode()
    # what may be a number with an exponent, which it writes in another way, or none at all
    return _ENCODE(body).encode() if _OTHERWISE.search(text) else text


def _date(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"$date": date_text(value)}
    raise TypeError(f"a document holds no {type(value).__name__}")


_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
_OTHERWISE: Final = re.compile(rb"[:,[]-?[\d.]+e|null")

_ENCODE = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_date
).encode
