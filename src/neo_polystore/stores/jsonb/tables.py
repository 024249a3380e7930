"""The DDL of one collection: table, validating trigger, indexes, grants."""

from __future__ import annotations

from collections.abc import Iterator

from neo_polystore.records.collections import Collection, Index
from neo_polystore.records.rules import place_of
from neo_polystore.stores.jsonb.rules import problem_case
from neo_polystore.stores.jsonb.sql import (
    SCHEMA,
    column,
    identifier,
    literal,
    member,
    table,
    words_of,
)

COMPILER = 4
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
);
ALTER TABLE {SCHEMA}._collections
    ADD COLUMN IF NOT EXISTS definitions jsonb NOT NULL DEFAULT '{{}}';
CREATE TABLE IF NOT EXISTS {SCHEMA}._versions (
    collection text NOT NULL,
    _id text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    body jsonb NOT NULL,
    stored_at timestamptz NOT NULL,
    replaced_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection, _id, version)
)
"""

RECORD = f"""
INSERT INTO {SCHEMA}._collections (collection, version, checksum, compiler, indexes, definitions)
VALUES ($1, $2, $3, $4, $5::text::jsonb, (
    SELECT coalesce(jsonb_object_agg(i.relname, pg_get_indexdef(i.oid)), '{{}}')
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = $6::text::regclass AND NOT x.indisprimary
)) ON CONFLICT (collection)
DO UPDATE SET version = EXCLUDED.version, checksum = EXCLUDED.checksum, applied_at = now(),
    compiler = EXCLUDED.compiler, indexes = EXCLUDED.indexes, definitions = EXCLUDED.definitions
"""


def table_statements(collection: Collection, *, application: str) -> Iterator[str]:
    """Table, trigger and grants, whatever was there; `application` is the role that may write."""
    name = table(collection.name)
    yield f"""
CREATE TABLE IF NOT EXISTS {name} (
    _id text COLLATE "C" PRIMARY KEY CHECK (_id <> ''),
    body jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
)"""
    for function, source in functions(collection).items():
        # the owner's rights: who replaces a document can add to its versions, and only so
        rights = " SECURITY DEFINER" if function.startswith("keep_") else ""
        yield f"""
CREATE OR REPLACE FUNCTION {SCHEMA}.{identifier(function)}() RETURNS trigger
LANGUAGE plpgsql{rights} SET search_path = pg_catalog, pg_temp AS {literal(source)}"""
    made = triggers(collection)
    for trigger in {*made, "versions"}:
        yield made.get(trigger, f"DROP TRIGGER IF EXISTS {trigger} ON {name}")
    yield f"GRANT SELECT ON {SCHEMA}._versions TO {identifier(application)}"
    yield f"GRANT USAGE ON SCHEMA {SCHEMA} TO {identifier(application)}"
    yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO {identifier(application)}"


def triggers(collection: Collection) -> dict[str, str]:
    """CREATE TRIGGER by name."""
    name = table(collection.name)
    made = {
        "validate": f"""
CREATE OR REPLACE TRIGGER validate BEFORE INSERT OR UPDATE ON {name}
FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.{identifier("check_" + collection.name)}()"""
    }
    if collection.versioned:
        made["versions"] = f"""
CREATE OR REPLACE TRIGGER versions AFTER UPDATE ON {name}
FOR EACH ROW WHEN (OLD.body IS DISTINCT FROM NEW.body)
EXECUTE FUNCTION {SCHEMA}.{identifier("keep_" + collection.name)}()"""
    return made


def functions(collection: Collection) -> dict[str, str]:
    """The bodies of the functions that the triggers call, by name."""
    bodies = {f"check_{collection.name}": _trigger_body(collection)}
    if collection.versioned:
        bodies[f"keep_{collection.name}"] = _keeping_body(collection)
    return bodies


def _keeping_body(collection: Collection) -> str:
    name = literal(collection.name)
    return f"""
BEGIN
    INSERT INTO {SCHEMA}._versions (collection, _id, version, body, stored_at)
    SELECT {name}, OLD._id, coalesce(max(version), 0) + 1, OLD.body, OLD.updated_at
    FROM {SCHEMA}._versions WHERE collection = {name} AND _id = OLD._id;
    RETURN NULL;
END
"""


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
            parts[f"{name}_text"] = ("gin", f"({words_of(place.path)})")
        elif found is None:
            parts[f"{name}_items"] = ("gin", f"({member(place.path)}) jsonb_path_ops")
        else:
            ordered.append(f"{found.sql} {'ASC' if direction == 1 else 'DESC'}")
    if ordered:
        parts[""] = ("btree", ", ".join(ordered))
    return parts


def index_statements(collection: Collection) -> dict[str, str]:
    """CREATE INDEX by index name."""
    found = {}
    for index in collection.indexes:
        for part, (method, columns) in _parts(collection, index).items():
            name = _index_name(collection, index, part)
            unique = " UNIQUE" if index.unique else ""
            # as in MongoDB, a missing value is one value
            nulls = " NULLS NOT DISTINCT" if index.unique else ""
            found[name] = (
                f"CREATE{unique} INDEX {identifier(name)} ON {table(collection.name)}"
                f" USING {method} ({columns}){nulls}"
            )
    return found
