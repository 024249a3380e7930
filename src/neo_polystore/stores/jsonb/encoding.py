"""Documents to and from JSONB: dates as text, everything else as it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import orjson

from neo_polystore.records.rules import Rule, member_rule
from neo_polystore.records.values import DATE_MARK, date_text, mapped, marked

_LARGE_FLOAT = re.compile(rb"\de\+?\d\d")
"""What the text of every float from 1e16 on has in it (and that of some others)."""


class Encoder:
    """Makes the JSON text of documents of one collection."""

    def __init__(self, rule: Rule):
        self._rule = rule
        declared = rule.get("properties", {})
        self._dates = tuple(name for name, inner in declared.items() if _is_date(inner))
        below = [inner for inner in _inner(rule) if not _is_date(inner)]
        self._walks = any(map(_declares_dates, below)) or _is_date(
            member_rule({**rule, "properties": {}}, "")
        )

    def __call__(self, body: dict[str, Any]) -> str:
        """The JSON text of a checked document."""
        if not self._walks:
            for name in self._dates:
                if isinstance(value := body.get(name), datetime):
                    body = {**body, name: date_text(value)}
            text = orjson.dumps(body, default=_marked, option=orjson.OPT_PASSTHROUGH_DATETIME)
            if _LARGE_FLOAT.search(text) is None:
                return text.decode()
        return orjson.dumps(mapped(body, self._rule, _encode_leaf)).decode()


def encode(body: dict[str, Any], rule: Rule) -> str:
    """The JSON text of one checked document."""
    return Encoder(rule)(body)


def _is_date(rule: Rule) -> bool:
    return rule.get("bsonType") == "date"


def _declares_dates(rule: Rule) -> bool:
    """Whether a date is declared there or anywhere below: such dates are not marked."""
    return _is_date(rule) or any(map(_declares_dates, _inner(rule)))


def _inner(rule: Rule) -> list[Rule]:
    """The rules for what is in a value: its fields by name, all others, its items."""
    others = [rule.get("additionalProperties"), rule.get("items")]
    return [
        *rule.get("properties", {}).values(),
        *(inner for inner in others if isinstance(inner, dict)),
    ]


def _marked(value: Any) -> Any:
    if isinstance(value, datetime):
        return marked(value, {})
    raise TypeError(f"{type(value).__name__} is no value of a document")


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
