"""Whether tables, triggers and indexes are still what the collection files made, and who breaks
a validator that is about to hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from neo_polystore.pgkit.database import Connection
from neo_polystore.records.collections import Collection
from neo_polystore.records.results import Offenders
from neo_polystore.stores.jsonb.rules import problem_case
from neo_polystore.stores.jsonb.sql import SCHEMA, table
from neo_polystore.stores.jsonb.tables import functions, triggers

LISTED = 10
"""How many documents that break a rule are named."""

DEFINITIONS = """
SELECT i.relname AS name, pg_get_indexdef(i.oid) AS definition, x.indisvalid AS valid
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = to_regclass($1) AND NOT x.indisprimary
"""
_FUNCTIONS = f"""
SELECT proname, prosrc FROM pg_proc WHERE pronamespace = '{SCHEMA}'::regnamespace
"""
_TRIGGERS = """
SELECT tgname FROM pg_trigger
WHERE tgrelid = to_regclass($1) AND NOT tgisinternal AND tgenabled IN ('O', 'A')
"""


async def definitions(connection: Connection, collection: Collection) -> dict[str, str]:
    """The indexes of a collection's table beside its key, as the server shows them."""
    rows = await connection.fetch(DEFINITIONS, table(collection.name))
    return {row["name"]: row["definition"] for row in rows if row["valid"]}


async def drift(
    connection: Connection, collections: Sequence[Collection], held: Mapping[str, Any]
) -> list[str]:
    """What somebody has changed by hand, a line each; `held` are the ledger's rows by name."""
    sources = {row["proname"]: row["prosrc"] for row in await connection.fetch(_FUNCTIONS)}
    problems: list[str] = []
    for collection in collections:
        if collection.name not in held:
            continue
        enabled = {
            row["tgname"] for row in await connection.fetch(_TRIGGERS, table(collection.name))
        }
        problems += _of_triggers(collection, sources, enabled)
        recorded = orjson.loads(held[collection.name]["definitions"])
        found = await definitions(connection, collection)
        for name in sorted(recorded.keys() | found.keys()):
            if name not in found:
                problems.append(f"{collection.name}: index {name} is missing or not valid")
            elif name not in recorded:
                problems.append(f"{collection.name}: no file names the index {name}")
            elif recorded[name] != found[name]:
                problems.append(f"{collection.name}: index {name} is not what the file makes")
    return problems


def _of_triggers(
    collection: Collection, sources: Mapping[str, str], enabled: set[str]
) -> Iterator[str]:
    for name, source in functions(collection).items():
        if sources.get(name) != source:
            yield f"{collection.name}: the function {name} is not what the file makes"
    for name in sorted(set(triggers(collection)) - enabled):
        yield f"{collection.name}: the trigger {name} is missing or disabled"


async def offenders(connection: Connection, collection: Collection) -> Offenders:
    """The stored documents that break the validator of the file, the first of them by key."""
    name = table(collection.name)
    if await connection.fetchval("SELECT to_regclass($1)", name) is None:
        return Offenders(collection.name)
    found = await connection.fetch(
        f"SELECT _id, problem, count(*) OVER () AS total FROM"
        f" (SELECT _id, {problem_case(collection)} AS problem FROM {name}) AS checked"
        f" WHERE problem IS NOT NULL ORDER BY _id LIMIT {LISTED}"
    )
    return Offenders(
        collection.name,
        total=found[0]["total"] if found else 0,
        first=[f"{row['_id']!r}: {row['problem']}" for row in found],
    )
