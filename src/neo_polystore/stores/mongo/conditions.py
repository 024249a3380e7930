"""Queries as MongoDB filters: values only under typed operators, field names only checked ones."""

from __future__ import annotations

import re
from typing import Any

from neo_polystore.errors import UsageError
from neo_polystore.records.conditions import condition_of, place_in
from neo_polystore.records.documents import Document
from neo_polystore.records.query import Filter, Operator, Query

Conditions = dict[str, Any]

_OPERATORS: dict[Operator, str] = {
    "eq": "$eq",
    "lt": "$lt",
    "le": "$lte",
    "gt": "$gt",
    "ge": "$gte",
}


def conditions(record: type[Document], query: Query) -> Conditions:
    """The filter for a query's conditions, times and words; {} for all documents."""
    filters = list(query.filters)
    bounds: tuple[tuple[Any, Operator], ...] = ((query.since, "ge"), (query.until, "lt"))
    for bound, operator in bounds:
        if bound is not None:
            if record.time_field is None:
                raise UsageError(f"{record.data_type} have no time to select by")
            filters.append(Filter(record.time_field, operator, bound))
    parts = [_condition(record, item) for item in filters]
    if query.text is not None:
        parts += _words(record, query.text)
    return {"$and": parts} if parts else {}


def indexed(record: type[Document], query: Query) -> Conditions:
    """The same, with the words asked of the text index first: it finds them, the rest is exact.

    Words of other letters than ASCII's are left to the rest: the index may cut them elsewhere.
    May not stand inside of an $or or $nor.
    """
    wanted = conditions(record, query)
    words = re.findall(r"\w+", query.text or "")
    if not words or not query.text or not query.text.isascii() or not _has_text_index(record):
        return wanted
    return {"$text": {"$search": " ".join(f'"{word}"' for word in words)}, **wanted}


def _has_text_index(record: type[Document]) -> bool:
    return any(
        index.is_text and (record.text_field, "text") in index.keys
        for index in record.collection.indexes
    )


def path_of(record: type[Document], field: str) -> str:
    """The path of a field as MongoDB writes it; UsageError where there can be none."""
    return ".".join(place_in(record, field).path)


def _condition(record: type[Document], item: Filter) -> Conditions:
    asked = condition_of(record, item)
    path = ".".join(asked.place.path)
    if not asked.values:
        return {path: {"$eq" if asked.operator == "eq" else "$ne": None}}
    if asked.operator == "ne":
        return {"$nor": [{path: {"$eq": value}} for value in asked.values]}
    if asked.operator == "prefix":
        # no options: case counts, and "." in the text is only a dot
        return {path: {"$regex": "^" + re.escape(asked.values[0])}}
    if asked.operator == "in":
        return {path: {"$in": list(asked.values)}}
    compare = _OPERATORS[asked.operator]
    parts: list[Conditions] = [{path: {compare: value}} for value in asked.values]
    return parts[0] if len(parts) == 1 else {"$or": parts}


def _words(record: type[Document], text: str) -> list[Conditions]:
    """All words, whole, in any letter case; a text index would stem them and ignore some."""
    if record.text_field is None:
        raise UsageError(f"{record.data_type} have no text to search")
    words = re.findall(r"\w+", text.lower())
    if not words:
        raise UsageError(f"no word to search for in {text!r}")
    edge = r"[^\p{L}\p{N}_]"
    return [
        {record.text_field: {"$regex": f"(^|{edge}){word}({edge}|$)", "$options": "i"}}
        for word in words
    ]
