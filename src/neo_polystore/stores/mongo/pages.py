"""Keyset pages over MongoDB: the sort, the condition that continues it, and its cursor."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from neo_polystore.errors import UsageError
from neo_polystore.records.conditions import condition_of
from neo_polystore.records.documents import Document
from neo_polystore.records.query import (
    Filter,
    Query,
    check_orderable,
    decode_cursor,
    encode_cursor,
)
from neo_polystore.records.rules import ID
from neo_polystore.stores.mongo.conditions import Conditions, path_of


def sort_of(record: type[Document], query: Query) -> list[tuple[str, int]]:
    """The sort of a query: its field, then `_id` to break ties."""
    direction = -1 if query.descending else 1
    fields = [ID]
    if query.order is not None:
        check_orderable(record, query.order)
        if (path := path_of(record, query.order)) != ID:
            fields.insert(0, path)
    return [(field, direction) for field in fields]


def continued(record: type[Document], query: Query) -> Conditions | None:
    """The condition that skips what earlier pages have answered; None on the first page."""
    if query.after is None:
        return None
    fields = [field for field, _ in sort_of(record, query)]
    given = decode_cursor(query.after, length=len(fields))
    values = []
    for field, value in zip(fields, given, strict=True):
        try:
            [read] = condition_of(record, Filter(field, "eq", value)).values
        except (UsageError, ValueError):
            raise UsageError(
                "the cursor does not belong to this query: start again without it"
            ) from None
        values.append(read)
    beyond = "$lt" if query.descending else "$gt"
    if len(fields) == 1:
        return {ID: {beyond: values[0]}}
    first, last = values
    # the bound on the field alone is implied; the server turns it into a bound of the index
    return {
        fields[0]: {f"{beyond}e": first},
        "$or": [{fields[0]: {beyond: first}}, {ID: {beyond: last}}],
    }


def cursor_of(record: type[Document], query: Query, document: dict[str, Any]) -> str:
    """The cursor that continues after this document."""
    values = [document.get(field) for field, _ in sort_of(record, query)]
    return encode_cursor([v.isoformat() if isinstance(v, datetime) else v for v in values])
