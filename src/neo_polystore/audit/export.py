"""Entries as NDJSON or CSV, a line at a time, so that memory does not grow with their number."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from neo_polystore.records.documents import Document
from neo_polystore.records.values import date_text

Format = Literal["ndjson", "csv"]

CSV_COLUMNS: Final = (
    "_id",
    "timestamp",
    "tenant_id",
    "user_id",
    "action",
    "resource",
    "resource_id",
    "success",
    "error_message",
    "service",
    "request_id",
    "ip_address",
    "user_agent",
    "changes",
)
"""In CSV every further field of an entry is in the last column, `details`, as JSON."""

MEDIA_TYPES: Final[Mapping[Format, str]] = {"ndjson": "application/x-ndjson", "csv": "text/csv"}

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


async def export(entries: AsyncIterator[Document], *, format: Format) -> AsyncIterator[bytes]:  # noqa: A002
    """The entries in a format, each as bytes that end with a line break."""
    if format == "csv":
        yield _line([*CSV_COLUMNS, "details"])
    async for entry in entries:
        yield _row(entry.body()) if format == "csv" else _json(entry.body()) + b"\n"


def _row(body: dict[str, Any]) -> bytes:
    details = {name: value for name, value in body.items() if name not in CSV_COLUMNS}
    cells = [_cell(body.get(name)) for name in CSV_COLUMNS]
    return _line([*cells, _json(details).decode() if details else ""])


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            # a spreadsheet would run it: OWASP, CSV injection
            return f"'{value}" if value.startswith(_FORMULA) else value
        case datetime():
            return date_text(value)
        case bool():
            return str(value).lower()
        case _:
            return _json(value).decode()


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=_date, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _date(value: Any) -> str:
    if isinstance(value, datetime):
        return date_text(value)
    raise TypeError(f"a document holds no {type(value).__name__}")


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()
