"""What a change changed: per field the value before and after, secrets masked, sizes bounded."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr

from neo_polystore.records.base import Record, is_secret
from neo_polystore.records.values import has_year, to_milliseconds

MASKED: Final = "***"
LONGEST: Final = 8192
"""Characters of a text, or bytes, that an entry keeps; of longer ones it keeps size and digest."""

DEEPEST: Final = 20
_INT64: Final = 2**63

Values = Mapping[str, Any] | BaseModel | None


def changes(
    before: Values, after: Values, *, masks: AbstractSet[str] = frozenset()
) -> dict[str, Any]:
    """Each field that differs, as `{"before": ..., "after": ...}`; absent sides are left out.

    Fields that may hold a secret (see `records.base.is_secret`), the record model's excluded
    fields and those named in `masks` show that they changed and never what they hold.
    """
    old, new = _fields(before), _fields(after)
    hidden = masks | _excluded(before) | _excluded(after)
    found: dict[str, Any] = {}
    for name in [*old, *(name for name in new if name not in old)]:
        if name in old and name in new and old[name] == new[name]:
            continue
        sides = {"before": old, "after": new}
        found[_field_name(name)] = {
            side: MASKED if name in hidden or is_secret(name) else plain(values[name], masks)
            for side, values in sides.items()
            if name in values
        }
    return found


def plain(value: Any, masks: AbstractSet[str] = frozenset(), depth: int = 0) -> Any:
    """The value as a document holds it: JSON's own types, UTC milliseconds, secrets masked."""
    match value:
        case None | bool():
            return value
        case SecretStr() | SecretBytes():
            return MASKED
        case Enum():
            return plain(value.value, masks, depth)
        case int():
            return value if -_INT64 <= value < _INT64 else str(value)
        case float():
            return value if value - value == 0 else str(value)
        case str():
            return _text(value)
        case datetime():
            if value.tzinfo is None or not has_year(value):
                return value.isoformat()
            return to_milliseconds(value)
        case bytes() | bytearray() | memoryview():
            return _bytes(bytes(value))
        case UUID() | Decimal() | date() | time():
            return str(value)
        case _ if depth >= DEEPEST:
            return f"({type(value).__name__}, nested too deeply)"
        case Mapping() | BaseModel():
            return _mapping(value, masks, depth)
        case list() | tuple() | set() | frozenset():
            return [plain(item, masks, depth + 1) for item in value]
        case _:
            return f"({type(value).__name__})"


def _mapping(
    value: Mapping[Any, Any] | BaseModel, masks: AbstractSet[str], depth: int
) -> dict[str, Any]:
    hidden = masks | _excluded(value)
    return {
        _field_name(name): MASKED
        if name in hidden or is_secret(name)
        else plain(item, masks, depth + 1)
        for name, item in _fields(value).items()
    }


def _fields(values: Any) -> dict[str, Any]:
    match values:
        case None:
            return {}
        case BaseModel():
            return dict(values)
        case _:
            return {str(name): value for name, value in values.items()}


def _excluded(values: Any) -> frozenset[str]:
    """What the model keeps out of every answer."""
    if not isinstance(values, Record):
        return frozenset()
    fields = type(values).model_fields.items()
    return frozenset(name for name, field in fields if field.exclude)


def _field_name(name: str) -> str:
    """A name that every document store takes: what it may not have is percent-encoded."""
    name = name.encode(errors="replace").decode().replace("%", "%25")
    name = name.replace(".", "%2E").replace("\0", "%00")
    return f"%24{name[1:]}" if name.startswith("$") else name or "%"


def _text(value: str) -> Any:
    value = value.replace("\0", "�").encode(errors="replace").decode()
    if len(value) <= LONGEST:
        return value
    return {"characters": len(value), "sha256": hashlib.sha256(value.encode()).hexdigest()}


def _bytes(value: bytes) -> Any:
    if len(value) <= 64:
        return base64.b64encode(value).decode()
    return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
