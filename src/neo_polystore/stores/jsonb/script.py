"""What the collections become in SQL, without a database."""

from __future__ import annotations

import re
from collections.abc import Iterable

import orjson

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.roles import APPLICATION
from neo_polystore.records.collections import Collection
from neo_polystore.stores.jsonb.migrate import checksum
from neo_polystore.stores.jsonb.sql import literal, table
from neo_polystore.stores.jsonb.tables import (
    COMPILER,
    LEDGER,
    RECORD,
    index_statements,
    table_statements,
)

_HEADER = """\
-- neo-polystore: the collections of mongo/ as tables of PostgreSQL
-- Run it connected to the database, as the role that is to own what it makes:
--   psql -v ON_ERROR_STOP=1 -U neo_owner -d DATABASE -f FILE
"""


def script_text(collections: Iterable[Collection], *, after: str | None) -> str:
    """The whole; UsageError for `after`, there is no order."""
    if after is not None:
        raise UsageError("collections do not follow each other: leave --after out")
    parts = ["BEGIN", LEDGER]
    for collection in collections:
        indexes = index_statements(collection)
        parts += table_statements(collection, application=APPLICATION)
        parts += indexes.values()
        parts.append(_recorded(collection, orjson.dumps(indexes).decode()))
    parts.append("COMMIT")
    return _HEADER + "".join(f"{part.strip()};\n" for part in parts)


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
