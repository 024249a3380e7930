"""Which objects of a listing a query asks for, and how much of the listing has to be read."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.query import Filter, Query, check_field

Condition = Callable[[StoredObject], bool]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The part of a listing that can hold matches: one bucket or all, names by prefix, and only
    keys (`bucket/name`) after `after`."""

    bucket: str | None = None
    prefix: str = ""
    after: str = ""


def bounds_of(query: Query, *, after: str = "") -> Bounds:
    """What a query's filters on bucket and name allow to leave out."""
    bucket, prefix = None, ""
    for item in query.filters:
        if not isinstance(item.value, str):
            continue
        if item.field == "bucket" and item.operator == "eq":
            bucket = item.value
        if item.field == "name" and item.operator in ("eq", "prefix"):
            prefix = max(prefix, item.value, key=len)
    return Bounds(bucket, prefix, after)


def condition_of(query: Query, *, fields: Callable[[str], bool] = lambda name: True) -> Condition:
    """The query's filters and times on those fields that `fields` accepts, as one test."""
    conditions = [_condition(item) for item in query.filters if fields(item.field)]
    since, until = query.since, query.until
    if fields("modified") and since is not None:
        conditions.append(lambda found: found.modified is not None and found.modified >= since)
    if fields("modified") and until is not None:
        conditions.append(lambda found: found.modified is not None and found.modified < until)
    return lambda found: all(condition(found) for condition in conditions)


def check(query: Query) -> None:
    """Raise UsageError or UnsupportedError for what no listing can answer."""
    if query.text is not None:
        raise UsageError("objects have no text to search")
    for item in query.filters:
        check_listed(item.field)


def check_listed(field: str) -> None:
    """Raise UsageError for a field that does not exist, UnsupportedError for the content."""
    check_field(StoredObject, field)
    if field == "content":
        raise UnsupportedError("objects cannot be queried by content")


def _condition(item: Filter) -> Condition:
    name, value = item.field, item.value
    if value is None:
        absent = item.operator != "ne"
        return lambda found: (getattr(found, name) is None) == absent
    if item.operator == "eq":
        return lambda found: bool(getattr(found, name) == value)
    if item.operator == "ne":
        return lambda found: bool(getattr(found, name) != value)
    if item.operator == "prefix":
        return lambda found: str(getattr(found, name)).startswith(str(value))
    compare = _COMPARE[item.operator]

    def compared(found: StoredObject) -> bool:
        actual = getattr(found, name)
        try:
            return actual is not None and compare(actual, value)
        except TypeError:
            raise UsageError(f"objects.{name} cannot be compared with {value!r}") from None

    return compared
