"""Checked documents as rows: merged by one statement, or copied where all of them are new."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from neo_polystore.pgkit.database import Connection
from neo_polystore.records.documents import Document
from neo_polystore.records.results import Written
from neo_polystore.records.rules import ID
from neo_polystore.stores.jsonb.encoding import Encoder
from neo_polystore.stores.jsonb.sql import SCHEMA, table

PIECE = 200
"""Documents that are encoded at a time while the server works on those before them."""


class Row(NamedTuple):
    """A document's place in the batch that it came in, its `_id`, and all of it."""

    place: int
    key: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether each key that a statement changed was inserted (True) or replaced (False)."""

    changed: dict[str, bool]

    def of(self, rows: Sequence[Row]) -> Written:
        """What happened to these rows of the statement."""
        if len(rows) == 1:  # what callers who are gathered mostly bring
            inserted = self.changed.get(rows[0].key)
            return Written(int(inserted is True), int(inserted is None), int(inserted is False))
        found = [self.changed.get(row.key) for row in rows]
        new, replaced = found.count(True), found.count(False)
        return Written(new=new, existing=len(rows) - new - replaced, replaced=replaced)


class Table:
    """The table of one collection, and how its documents are encoded."""

    def __init__(self, record: type[Document]):
        self.name = record.collection.name
        self._encode = Encoder(record.collection.validator)
        self._upsert = (
            f"INSERT INTO {table(self.name)} AS stored (_id, body)"
            " SELECT _id, body::jsonb FROM unnest($1::text[], $2::text[]) AS given (_id, body)"
            " ON CONFLICT (_id) DO UPDATE SET body = EXCLUDED.body"
            " WHERE stored.body <> EXCLUDED.body RETURNING _id, xmax = 0"
        )

    def text(self, row: Row) -> str:
        """The JSON text of a row's body."""
        body = dict(row.document)
        del body[ID]
        return self._encode(body)

    async def upsert(self, connection: Connection, rows: Sequence[Row]) -> Outcome:
        """Insert what is new and replace what differs, in one statement; no key twice."""
        keys = [row.key for row in rows]
        changed = await connection.fetch(self._upsert, keys, [self.text(row) for row in rows])
        return Outcome({key: inserted for key, inserted in changed})  # noqa: C416 (records)

    async def copy(self, connection: Connection, rows: Sequence[Row]) -> None:
        """COPY rows whose keys are new; raises UniqueViolationError where one is not any more."""
        await connection.copy_to_table(
            self.name, schema_name=SCHEMA, columns=("_id", "body"), source=self._lines(rows)
        )

    async def _lines(self, rows: Sequence[Row]) -> AsyncIterator[bytes]:
        for start in range(0, len(rows), PIECE):
            piece = rows[start : start + PIECE]
            # JSON text has no control characters: they are escaped in it
            lines = [
                f"{_field(row.key)}\t{self.text(row).replace(_BACKSLASH, _TWO)}\n" for row in piece
            ]
            yield "".join(lines).encode()

    async def present(self, connection: Connection, keys: list[str]) -> set[str]:
        """Which of these keys are stored."""
        sql = f"SELECT _id FROM {table(self.name)} WHERE _id = ANY($1)"
        return {key for (key,) in await connection.fetch(sql, keys)}


_BACKSLASH = "\\"
_TWO = "\\\\"


def _field(text: str) -> str:
    """Any text in COPY's text format; see the PostgreSQL documentation of COPY, "Text Format"."""
    if _BACKSLASH not in text and text.isprintable():
        return text
    text = text.replace(_BACKSLASH, _TWO).replace("\t", "\\t")
    return text.replace("\n", "\\n").replace("\r", "\\r")
