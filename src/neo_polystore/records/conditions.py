"""What a filter on a document asks for, settled once for every engine: path, types, values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

import orjson

from neo_polystore.errors import UsageError
from neo_polystore.records.documents import Document
from neo_polystore.records.query import Filter, Operator, alternatives, parse_time
from neo_polystore.records.rules import ID, Place, place_of
from neo_polystore.records.values import INT64, has_year, is_text, to_milliseconds

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?")
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,18})(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Condition:
    """A place in the document and the values to compare it with.

    Values compare only with values of their own type: numbers with numbers, dates with dates,
    text with text by code points. Where the place is an array, or arrays lie on the way to it,
    one item that satisfies the condition is enough. `ne` is the opposite of `eq`: absent
    satisfies it. `in` has the values of which any may match. Several values otherwise are the
    readings of one text at a place whose type nobody declared: the text `5` also means the
    number; any of them may match. No value at all asks whether the place is absent or null (`eq`)
    or not (`ne`).
    """

    place: Place
    operator: Operator
    values: tuple[Any, ...]


def condition_of(record: type[Document], item: Filter) -> Condition:
    """Read one filter; UsageError where the path or the value cannot be asked for."""
    place = place_in(record, item.field)
    if item.operator == "in":
        parts = [condition_of(record, each) for each in alternatives(record, item)]
        return Condition(place, item.operator, tuple(v for part in parts for v in part.values))
    if item.value is None:
        if item.operator not in ("eq", "ne"):
            raise UsageError(f"{record.data_type}.{item.field}: {item.operator} needs a value")
        return Condition(place, item.operator, ())
    if isinstance(item.value, str) and not is_text(item.value):
        raise UsageError(f"{record.data_type}.{item.field}: no stored text has these characters")
    if item.operator == "prefix":
        if place.kind not in (None, "string") or not isinstance(item.value, str):
            raise UsageError(f"{record.data_type}.{item.field}: only text has prefixes")
        return Condition(place, item.operator, (item.value,))
    if place.kind is None:
        values = _readings(item.value)
    else:
        values = tuple(v for v in [_declared(place, item.value)] if v is not None)
    if not values:
        expected = place.kind or "text, a number, a boolean or a time"
        raise UsageError(
            f"{record.data_type}.{item.field}: expected {expected}, got {str(item.value)[:60]!r}"
        )
    return Condition(place, item.operator, values)


def place_in(record: type[Document], field: str) -> Place:
    """The place of a field or dotted path; UsageError where no document can have it."""
    name = ID if field == "document_id" else field
    if not all(step and not step.startswith("$") and is_text(step) for step in name.split(".")):
        raise UsageError(f"{record.data_type} cannot have a field {field!r}")
    return place_of(record.collection.validator, name)


def _declared(place: Place, value: Any) -> Any:
    """The value as the place's own type, None where it cannot be."""
    if place.kind == "string":
        return value if isinstance(value, str) else None
    if place.kind == "date":
        return _time(value)
    if place.kind == "bool":
        return (
            {"true": True, "false": False}.get(value)
            if isinstance(value, str)
            else _of(value, bool)
        )
    if isinstance(value, str):
        value = _number(value)
    return value if _is_number(value) else None


def _readings(value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        readings: list[Any] = [value]
        if value in ("true", "false"):
            readings.append(value == "true")
        elif _is_number(number := _number(value)):
            readings.append(number)
        elif _TIME.fullmatch(value):
            readings.append(_time(value))
        return tuple(reading for reading in readings if reading is not None)
    if isinstance(value, datetime):
        return tuple(time for time in [_time(value)] if time is not None)
    return (value,) if isinstance(value, bool) or _is_number(value) else ()


def _is_number(value: Any) -> bool:
    """Whether this is a number that a document can hold."""
    if isinstance(value, float):
        return isfinite(value)
    return type(value) is int and -INT64 <= value < INT64


def _of(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) else None


def _time(value: Any) -> datetime | None:
    try:
        time = parse_time(value) if isinstance(value, str) else value
    except UsageError:
        return None
    if not isinstance(time, datetime) or time.tzinfo is None or not has_year(time):
        return None
    return to_milliseconds(time)


def _number(text: str) -> int | float | None:
    if not _NUMBER.fullmatch(text):
        return None
    number: int | float = orjson.loads(text)
    return number


def sort_values(values: list[Any]) -> list[Any]:
    """The values in one order for every engine: booleans, numbers, text, times, the rest."""
    return sorted(values, key=_rank)


def _rank(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool):
        return 0, value
    if isinstance(value, int | float):
        return 1, value
    if isinstance(value, str):
        return 2, value
    if isinstance(value, datetime):
        return 3, value
    return 4, orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)
