"""Documents to and from JSONB: dates as text, everything else as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from neo_polystore.records.rules import Rule
from neo_polystore.records.values import DATE_MARK, mapped, marked


def encode(body: dict[str, Any], rule: Rule) -> str:
    """The JSON text of a checked document."""
    return orjson.dumps(mapped(body, rule, _encode_leaf)).decode()


def _encode_leaf(value: Any, rule: Rule) -> Any:
    if isinstance(value, datetime):
        return marked(value, rule)
    if isinstance(value, float) and abs(value) >= 1e16:
        # jsonb keeps the digits after the point but no exponent: only they tell it from an integer
        return orjson.Fragment(f"{value:.1f}")
    return value


def decode(value: Any, rule: Rule) -> Any:
    """The document of a JSONB value."""
    return mapped(value, rule, _decode_leaf)


def _decode_leaf(value: Any, rule: Rule) -> Any:
    if isinstance(value, dict):
        return _date(value[DATE_MARK])
    return _date(value) if rule.get("bsonType") == "date" else value


def _date(value: Any) -> Any:
    """The date; a value that is none stays: it is from before the field was declared a date."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (TypeError, ValueError):
        return value
