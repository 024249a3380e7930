"""Documents to and from JSONB: dates as text, everything else as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from neo_polystore.records.rules import Rule, item_rule, member_rule
from neo_polystore.records.values import mapped, to_milliseconds
from neo_polystore.stores.jsonb.sql import DATE_MARK


def date_text(value: datetime) -> str:
    """`2026-01-31T12:00:00.000Z`: always 24 characters."""
    return to_milliseconds(value).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def encode(body: dict[str, Any], rule: Rule) -> str:
    """The JSON text of a checked document."""
    return orjson.dumps(mapped(body, rule, _encode_leaf)).decode()


def _encode_leaf(value: Any, rule: Rule) -> Any:
    if isinstance(value, datetime):
        text = date_text(value)
        return text if rule.get("bsonType") == "date" else {DATE_MARK: text}
    if isinstance(value, float) and abs(value) >= 1e16:
        # jsonb keeps the digits after the point but no exponent: only they tell it from an integer
        return orjson.Fragment(f"{value:.1f}")
    return value


def decode(value: Any, rule: Rule) -> Any:
    """The document of a JSONB value."""
    if isinstance(value, dict):
        if DATE_MARK in value and len(value) == 1:
            return _date(value[DATE_MARK])
        return {name: decode(item, member_rule(rule, name)) for name, item in value.items()}
    if isinstance(value, list):
        inner = item_rule(rule)
        return [decode(item, inner) for item in value]
    return _date(value) if rule.get("bsonType") == "date" else value


def _date(value: Any) -> Any:
    """The date; a value that is none stays: it is from before the field was declared a date."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (TypeError, ValueError):
        return value
