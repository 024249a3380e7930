"""The DDL of one collection: table, validating trigger, indexes, grants."""

from __future__ import annotations

from collections.abc import Iterator

from neo_polystore.records.collections import Collection, Index
from neo_polystore.records.rules import place_of
from neo_polystore.stores.jsonb.rules import problem_case
from neo_polystore.stores.jsonb.sql import SCHEMA, column, identifier, literal, member, table

COMPILER = 1
"""Raise when the statements below change: collections are then compiled anew."""

LEDGER = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}._collections (
    collection text PRIMARY KEY,
    version integer NOT NULL,
    checksum text NOT NULL,
    compiler integer NOT NULL,
    indexes jsonb NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

RECORD = f"""
INSERT INTO {SCHEMA}._collections (collection, version, checksum, compiler, indexes)
VALUES ($1, $2, $3, $4, $5::text::jsonb) ON CONFLICT (collection)
DO UPDATE SET version = EXCLUDED.version, checksum = EXCLUDED.checksum,
    compiler = EXCLUDED.compiler, indexes = EXCLUDED.indexes, applied_at = now()
"""


def table_statements(collection: Collection, *, application: str) -> Iterator[str]:
    """Table, trigger and grants, whatever was there; `application` is the role that may write."""
    name = table(collection.name)
    function = f"{SCHEMA}.{identifier('check_' + collection.name)}"
    yield f"""
CREATE TABLE IF NOT EXISTS {name} (
    _id text COLLATE "C" PRIMARY KEY CHECK (_id <> ''),
    body jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
)"""
    yield f"""
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS {literal(_trigger_body(collection))}"""
    yield f"""
CREATE OR REPLACE TRIGGER validate BEFORE INSERT OR UPDATE ON {name}
FOR EACH ROW EXECUTE FUNCTION {function}()"""
    yield f"GRANT USAGE ON SCHEMA {SCHEMA} TO {identifier(application)}"
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {identifier(application)}"


def _trigger_body(collection: Collection) -> str:
    return f"""
DECLARE
    _id CONSTANT text := NEW._id;
    body CONSTANT jsonb := NEW.body;
    problem CONSTANT text := {problem_case(collection)};
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', MESSAGE = problem,
            TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA, CONSTRAINT = 'validate';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END
"""


def index_names(collection: Collection) -> dict[str, Index]:
    """The SQL names of a collection's indexes; one file's index may need two."""
    return {
        _index_name(collection, index, part): index
        for index in collection.indexes
        for part in _parts(collection, index)
    }


def _index_name(collection: Collection, index: Index, part: str) -> str:
    # 63 bytes are what an identifier holds; a collection's name has 40 at most
    return (
        f"{collection.name}_{index.name}_{part}"[-63:]
        if part
        else f"{collection.name}_{index.name}"
    )


def _parts(collection: Collection, index: Index) -> dict[str, tuple[str, str]]:
    """Access method and columns of each SQL index that one index of the file becomes.

    Arrays and texts each get an inverted index of their own; what is left is one B-tree.
    """
    parts = {}
    ordered = []
    for name, direction in index.keys:
        place = place_of(collection.validator, name)
        found = column(place)
        if direction == "text":
            parts[f"{name}_text"] = ("gin", f"({member(place.path, text=True)}) %trigrams%")
        elif found is None:
            parts[f"{name}_items"] = ("gin", f"({member(place.path)}) jsonb_path_ops")
        else:
            ordered.append(f"{found.sql} {'ASC' if direction == 1 else 'DESC'}")
    if ordered:
        parts[""] = ("btree", ", ".join(ordered))
    return parts


def index_statements(collection: Collection, *, trigrams: str | None) -> dict[str, str]:
    """CREATE INDEX by index name; `trigrams` is the schema of pg_trgm, where the server has it."""
    found = {}
    for index in collection.indexes:
        for part, (method, columns) in _parts(collection, index).items():
            if "%trigrams%" in columns and trigrams is None:
                continue
            columns = columns.replace("%trigrams%", f"{identifier(trigrams or '')}.gin_trgm_ops")
            name = _index_name(collection, index, part)
            unique = " UNIQUE" if index.unique else ""
            # as in MongoDB, a missing value is one value
            nulls = " NULLS NOT DISTINCT" if index.unique else ""
            found[name] = (
                f"CREATE{unique} INDEX {identifier(name)} ON {table(collection.name)}"
                f" USING {method} ({columns}){nulls}"
            )
    return found
