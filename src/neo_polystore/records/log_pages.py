"""Pages of log entries in whichever engine: their order, and where a cursor stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.query import Query, check_orderable, decode_cursor, encode_cursor
from neo_polystore.records.times import micros

_ORDERS: Final = ("timestamp", "system")


_FIRST: Final = micros(datetime.min.replace(tzinfo=UTC))
_LAST: Final = micros(datetime.max.replace(tzinfo=UTC))


def order_of(query: Query) -> str | None:
    """The field to order by before the id; None for the id alone, UsageError for another one."""
    if query.order is None:
        return None
    check_orderable(LogEntry, query.order)
    if query.order == "id":
        return None
    if query.order not in _ORDERS:
        raise UnsupportedError(
            f"logs cannot be ordered by {query.order!r}; choose id, timestamp or system"
        )
    return query.order


def position(query: Query, order: str | None) -> tuple[Any, str] | None:
    """Where the cursor stands: the order field's value (times in microseconds) and the id.

    Without an order both are the id; None for the first page.
    """
    if query.after is None:
        return None
    values = decode_cursor(query.after, length=1 if order is None else 2)
    first, key = values[0], values[-1]
    kind = int if order == "timestamp" else str
    if not (isinstance(first, kind) and isinstance(key, str)) or (
        isinstance(first, int) and not _FIRST <= first <= _LAST
    ):
        raise UsageError("the cursor does not belong to this query: start again without it")
    return first, key


def cursor(entry: LogEntry, order: str | None) -> str:
    """The cursor that stands on an entry."""
    if order is None:
        return encode_cursor([entry.id])
    value = getattr(entry, order)
    return encode_cursor([micros(value) if isinstance(value, datetime) else value, entry.id])
