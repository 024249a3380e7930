"""Ports that lose no write while their store is away: the outbox takes it until it is back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neo_polystore.errors import UnsupportedError
from neo_polystore.ports.documents import Documents
from neo_polystore.ports.logs import Logs
from neo_polystore.ports.outbox import Outbox
from neo_polystore.records.catalog import record_type
from neo_polystore.records.documents import Document
from neo_polystore.records.history import Version
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page
from neo_polystore.wrappers.spooled_records import SpooledRecords

__all__ = ["SpooledDocuments", "SpooledLogs", "SpooledRecords", "spooled"]


class SpooledDocuments(SpooledRecords[Document, Documents]):
    """Documents of one collection."""

    async def project(self, query: Query, fields: Sequence[str]) -> Page[dict[str, Any]]:
        """From the primary."""
        return await self.direct.project(query, fields)

    async def native(self, key: str) -> dict[str, Any]:
        """From the primary."""
        return await self.direct.native(key)

    async def versions(self, key: str) -> list[Version]:
        """From the primary."""
        return await self.direct.versions(key)


class SpooledLogs(SpooledRecords[LogEntry, Logs]):
    """Log lines."""


_WRAPPERS: Mapping[str, type[SpooledRecords[Any, Any]]] = {"logs": SpooledLogs}

_WRITTEN_ONCE = frozenset({"audit_logs", "logs"})
"""Nobody writes such a record a second time with another value, so their order does not matter."""


def spooled(data_type: str, primary: Any, outbox: Outbox) -> Any:
    """The port of a data type with the outbox behind it; UnsupportedError where there is none."""
    documents = issubclass(record_type(data_type), Document)
    wrapper = SpooledDocuments if documents else _WRAPPERS.get(data_type)
    if wrapper is None:
        able = ", ".join(["collections of documents", *sorted(_WRAPPERS)])
        raise UnsupportedError(f"{data_type} cannot be spooled (only {able})")
    return wrapper(data_type, primary, outbox, written_once=data_type in _WRITTEN_ONCE)


if TYPE_CHECKING:
    _documents: type[Documents] = SpooledDocuments
    _logs: type[Logs] = SpooledLogs
