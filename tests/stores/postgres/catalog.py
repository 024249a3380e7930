"""How the tests write a table's columns, and how the database has them."""

from __future__ import annotations

from neo_polystore.pgkit.database import Connection

ID = "id uuid! =gen_random_uuid()"
TENANT = "tenant_id uuid!"
CREATED = "created_at timestamptz! =CURRENT_TIMESTAMP"
UPDATED = "updated_at timestamptz! =CURRENT_TIMESTAMP"

_NAMES = """
core auth blockchain enclave audit sgx compute oracle voting crosschain keymanagement
monitoring eventsourcing storage security notification automation analytics reporting
outbox scheduler retention
"""
SCHEMAS = _NAMES.split()
"""Every schema that the migrations make."""


def columns_of(text: str) -> list[str]:
    """The columns of a table as a test writes them, in order: `name type! =default, ...`.

    `!` says NOT NULL; the type is the catalog's own short name.
    """
    flat = " ".join(text.split()).replace("(78,0)", "(78;0)").replace("(5,4)", "(5;4)")
    return sorted(column.replace(";", ",") for column in flat.split(", "))


async def columns_found(connection: Connection, table: str) -> list[str]:
    """The columns of a table in the database, written in the same way."""
    rows = await connection.fetch(
        """
        SELECT column_name AS name, udt_name AS kind, character_maximum_length AS length,
            numeric_precision AS digits, numeric_scale AS scale, is_nullable = 'NO' AS needed,
            column_default AS initial
        FROM information_schema.columns
        WHERE table_schema = split_part($1, '.', 1) AND table_name = split_part($1, '.', 2)
        """,
        table,
    )
    found = []
    for row in rows:
        size = f"({row['length']})" if row["length"] else ""
        if row["kind"] == "numeric" and row["digits"]:
            size = f"({row['digits']},{row['scale']})"
        text = f"{row['name']} {row['kind']}{size}{'!' if row['needed'] else ''}"
        if row["initial"] is not None:
            text += f" ={row['initial'].split('::')[0]}"
        found.append(text)
    return sorted(found)
