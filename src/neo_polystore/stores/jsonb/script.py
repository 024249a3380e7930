"""What the collections become in SQL, without a database."""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.psql import ended, heading, unless
from neo_polystore.pgkit.roles import APPLICATION
from neo_polystore.records.collections import Collection
from neo_polystore.stores.jsonb.migrate import RUNNERS, checksum
from neo_polystore.stores.jsonb.sql import SCHEMA, literal, table
from neo_polystore.stores.jsonb.tables import (
    COMPILER,
    LEDGER,
    RECORD,
    index_statements,
    table_statements,
)


def script_text(collections: Iterable[Collection], *, after: str | None) -> str:
    """The whole; UsageError for `after`, there is no order."""
    if after is not None:
        raise UsageError("collections do not follow each other: leave --after out")
    title = "the collections of mongo/ as tables of PostgreSQL"
    parts = [heading(title, lock=RUNNERS) + ended([LEDGER])]
    for collection in collections:
        indexes = index_statements(collection)
        body = [
            "BEGIN",
            *table_statements(collection, application=APPLICATION),
            *indexes.values(),
            _recorded(collection, orjson.dumps(indexes).decode()),
            "COMMIT",
        ]
        name = literal(collection.name)
        parts.append(unless(f"SELECT FROM {SCHEMA}._collections WHERE collection = {name}", body))
    return "\n".join(parts)


def _recorded(collection: Collection, indexes: str) -> str:
    values = {
        "$1": literal(collection.name),
        "$2": str(collection.version),
        "$3": literal(checksum(collection)),
        "$4": str(COMPILER),
        "$5": literal(indexes),
        "$6": literal(table(collection.name)),
    }
    return re.sub(r"\$\d", lambda place: values[place[0]], RECORD)
