"""What of a database is backed up: its schemas, tables in load order, sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from neo_polystore.pgkit.database import Connection
from neo_polystore.pgkit.quoting import identifier

_OURS = """
n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass
    AND d.objid = n.oid AND d.deptype = 'e')
AND ($1::text IS NULL OR n.nspname = $1)
"""

_NO_MEMBER = """
NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
    AND d.objid = c.oid AND d.deptype = 'e')
"""

# Partitions each by itself, as pg_dump has them: rows go back to where they were.
_TABLES = f"""
SELECT n.nspname AS schema, c.relname AS name, pg_table_size(c.oid) AS size,
    ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
        AND NOT attisdropped AND attgenerated = '' ORDER BY attnum) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {_OURS} AND {_NO_MEMBER}
ORDER BY 1, 2
"""

_SEQUENCES = f"""
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {_OURS} AND {_NO_MEMBER}
ORDER BY 1, 2
"""

_OCCUPIED = f"""
SELECT count(*), min(n.nspname || '.' || c.relname) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND {_OURS} AND {_NO_MEMBER}
"""

_HYPERTABLES = "_timescaledb_catalog.hypertable"


@dataclass(frozen=True, slots=True)
class Table:
    """A table, or one partition. `size` is what it takes on disk."""

    schema: str
    name: str
    columns: tuple[str, ...]
    size: int = 0

    @property
    def sql(self) -> str:
        """The name in a statement."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    @property
    def stream(self) -> str:
        """The name of its stream."""
        return f"t.{_plain(self.schema)}.{_plain(self.name)}"

    @property
    def column_list(self) -> str:
        """The columns that are stored, in a statement; empty where there are none."""
        return f"({', '.join(map(identifier, self.columns))})" if self.columns else ""


@dataclass(frozen=True, slots=True)
class Counter:
    """Where a sequence stands."""

    schema: str
    name: str
    last_value: int
    is_called: bool


async def tables(connection: Connection, schema: str | None) -> list[Table]:
    """The tables of a schema, or of all that are ours."""
    rows = await connection.fetch(_TABLES, schema)
    return [Table(r["schema"], r["name"], tuple(r["columns"]), r["size"]) for r in rows]


async def sequences(connection: Connection, schema: str | None) -> Sequence[Counter]:
    """The sequences, each with its value: those are outside of every snapshot."""
    found = []
    for row in await connection.fetch(_SEQUENCES, schema):
        name = f"{identifier(row['schema'])}.{identifier(row['name'])}"
        value = await connection.fetchrow(f"SELECT last_value, is_called FROM {name}")
        if value is not None:
            found.append(Counter(row["schema"], row["name"], *value))
    return found


async def occupied(connection: Connection, schema: str | None) -> str | None:
    """What there is already, in words."""
    row = await connection.fetchrow(_OCCUPIED, schema)
    if row is None or not row[0]:
        return None
    return f"{row[0]} tables, views and sequences, such as {row[1]}"


async def hypertables(connection: Connection) -> int:
    """How many hypertables of TimescaleDB there are."""
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", _HYPERTABLES):
        return 0
    return int(await connection.fetchval(f"SELECT count(*) FROM {_HYPERTABLES}"))


def _plain(name: str) -> str:
    return quote(name, safe="").replace("~", "%7E").replace(".", "%2E")
