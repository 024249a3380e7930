"""Turns a Query into the server's query language; text of a caller only ever becomes a value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.query import Filter, Query, alternatives, check_field
from neo_polystore.records.times import micros
from neo_polystore.stores.elasticsearch.documents import TEXT_FIELDS, pair, pair_prefix
from neo_polystore.stores.elasticsearch.words import words

Condition = dict[str, Any]

EVERYTHING: Condition = {"match_all": {}}
NOTHING: Condition = {"match_none": {}}
_RANGES = {"lt": "lt", "le": "lte", "gt": "gt", "ge": "gte"}
_MOST_WORDS = 500  # the server allows 1,024 clauses in one query


def matching(query: Query) -> Condition:
    """What satisfies the query's filters, times and words; its cursor plays no part."""
    parts = [condition(item) for item in query.filters]
    for bound, operator in ((query.since, "ge"), (query.until, "lt")):
        if bound is not None:
            parts.append(_time(operator, bound))
    if query.text is not None:
        parts += _words(query.text)
    return all_of(parts)


def condition(item: Filter) -> Condition:
    """One filter; raises UsageError or UnsupportedError, naming the field."""
    check_field(LogEntry, item.field)
    head, _, path = item.field.partition(".")
    if item.operator == "in":
        return any_of([condition(each) for each in alternatives(LogEntry, item)])
    if item.value is None:
        present = _present(head, path)
        return present if item.operator == "ne" else none_of(present)
    if head == "timestamp":
        return _time(item.operator, item.value)
    if head in ("id", *TEXT_FIELDS):
        return _text(head, item.operator, str(item.value))
    if head == "fields" and path:
        return _pair(path, item.operator, str(item.value))
    hint = ": search its words with text" if head == "message" else ""
    raise UnsupportedError(f"logs cannot be selected by {item.field!r}{hint}")


def all_of(parts: Sequence[Condition]) -> Condition:
    """Every one of the conditions; everything where there is none. Nothing is scored."""
    return {"bool": {"filter": list(parts)}} if parts else EVERYTHING


def any_of(parts: Sequence[Condition]) -> Condition:
    """At least one of the conditions."""
    return {"bool": {"should": list(parts), "minimum_should_match": 1}} if parts else NOTHING


def none_of(part: Condition) -> Condition:
    """What does not satisfy the condition."""
    return {"bool": {"must_not": [part]}}


def after(order: str | None, value: Any, key: str, *, descending: bool) -> Condition:
    """What comes behind a record in the order of a field and then of the id."""
    further = "lt" if descending else "gt"
    beyond: Condition = {"range": {"id": {further: key}}}
    if order is None:
        return beyond
    tied = all_of([{"term": {order: value}}, beyond])
    return any_of([{"range": {order: {further: value}}}, tied])


def _present(head: str, path: str) -> Condition:
    if head == "fields" and path:
        return {"prefix": {"pairs": pair_prefix(path)}}
    return {"exists": {"field": head}} if head in TEXT_FIELDS else EVERYTHING


def _time(operator: str, value: Any) -> Condition:
    if not isinstance(value, datetime):
        raise UsageError(f"logs.timestamp is a time, not {value!r}")
    if operator == "prefix":
        raise UsageError("logs.timestamp is a time, it has no prefix")
    return _compared("timestamp", operator, micros(value))


def _text(field: str, operator: str, value: str) -> Condition:
    if operator == "prefix":
        return {"prefix": {field: value}}
    return _compared(field, operator, value)


def _pair(name: str, operator: str, value: str) -> Condition:
    """The pairs of a name lie between `name=` and `name>`, the next character after `=`."""
    start, term = pair_prefix(name), pair(name, value)
    match operator:
        case "eq" | "ne":
            return _compared("pairs", operator, term)
        case "prefix":
            return {"prefix": {"pairs": start + value}}
        case "lt" | "le":
            return {"range": {"pairs": {"gte": start, _RANGES[operator]: term}}}
    return {"range": {"pairs": {_RANGES[operator]: term, "lt": start[:-1] + ">"}}}


def _compared(field: str, operator: str, value: str | int) -> Condition:
    if operator in ("eq", "ne"):
        same: Condition = {"term": {field: value}}
        return same if operator == "eq" else none_of(same)
    return {"range": {field: {_RANGES[operator]: value}}}


def _words(text: str) -> list[Condition]:
    found = words(text)
    if not found:
        raise UsageError(f"no word to search for in {text!r}")
    if len(found) > _MOST_WORDS:
        raise UsageError(f"a text of {len(found):,} words: at most {_MOST_WORDS} can be asked for")
    return [{"term": {"words": word}} for word in found]
