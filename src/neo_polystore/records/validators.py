"""Checks documents against their collection's file, with the same words in every engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError as SchemaError
from jsonschema.validators import create

from neo_polystore.errors import FieldProblem
from neo_polystore.records.collections import Collection, Index
from neo_polystore.records.compiled import Test, compiled, plain_size
from neo_polystore.records.rules import ID, VERSION, Rule, place_of
from neo_polystore.records.values import INT32, INT64, MAX_BYTES, value_problems

MAX_INDEXED_BYTES = 1024
"""The longest text in an index; a B-tree entry of PostgreSQL holds 2,704 bytes in all."""


def check(collection: Collection, body: dict[str, Any]) -> list[FieldProblem]:
    """What is wrong with a document (with its `_id`): path and broken rule of each; [] if nothing.

    Names and values that no engine could keep come first, and alone.
    """
    if _is_good(collection, body):
        return []
    return (
        value_problems(body)
        or [*_broken_rules(collection, body), *_key_problems(collection, body)]
        or list(_index_problems(collection, body))
    )


def _is_good(collection: Collection, body: dict[str, Any]) -> bool:
    """Whether nothing is wrong, the short way; a document that is, may still be called bad."""
    if plain_size(body) > MAX_BYTES or not _rule_test(collection)(body):
        return False
    identity = body.get(ID)
    if identity.__class__ is not str or not 0 < len(identity) * 4 <= MAX_INDEXED_BYTES:
        return False
    if collection.versioned and VERSION in body:
        return False
    if collection.key and collection.derived_id(body) not in (None, identity):
        return False
    for steps, shortest in _indexed_places(collection):
        value: Any = body
        for step in steps:
            value = value.get(step) if value.__class__ is dict else None
        if value.__class__ is str and len(value) > shortest:
            return False
    return True


@lru_cache
def _rule_test(collection: Collection) -> Test:
    return compiled(collection.validator, lambda rule: _ValidatorClass(rule).is_valid)


@lru_cache
def _indexed_places(collection: Collection) -> tuple[tuple[tuple[str, ...], int], ...]:
    """Where indexed texts are, and how many characters are short enough whatever they are."""
    texts = _indexed_texts(collection)
    return tuple((tuple(name.split(".")), limit // 4) for name, _, limit in texts)


def taken(collection: Collection, index: Index) -> FieldProblem:
    """The problem of a document whose values another document has in a unique index."""
    fields = ", ".join(name for name, _ in index.keys)
    return FieldProblem(
        fields, f"breaks unique index {index.name} of {collection.name}: another document has these"
    )


def _broken_rules(collection: Collection, body: dict[str, Any]) -> Iterator[FieldProblem]:
    for error in _validator(collection).iter_errors(body):
        path = ".".join(map(str, error.absolute_path)) or "document"
        rule = f"breaks {error.validator} {_shorten(error.validator_value)} of {collection.name}"
        yield FieldProblem(path, f"{rule}: {error.message}")


def _key_problems(collection: Collection, body: dict[str, Any]) -> Iterator[FieldProblem]:
    if collection.versioned and VERSION in body:
        yield FieldProblem(VERSION, f"breaks versions of {collection.name}: the store counts them")
    identity = body.get(ID)
    wanted = collection.derived_id(body)
    if not isinstance(identity, str) or not identity:
        yield FieldProblem(ID, f"breaks key of {collection.name}: must be text")
    elif len(identity.encode()) > MAX_INDEXED_BYTES:
        yield _too_long(ID, f"key of {collection.name}")
    elif wanted is not None and identity != wanted:
        fields = ", ".join(collection.key)
        yield FieldProblem(
            ID, f"breaks key of {collection.name}: must be {_shorten(wanted)}, made from {fields}"
        )


def _index_problems(collection: Collection, body: dict[str, Any]) -> Iterator[FieldProblem]:
    for name, index, limit in _indexed_texts(collection):
        value: Any = body
        for step in name.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        # no character takes more than four bytes
        if isinstance(value, str) and len(value) * 4 > limit and len(value.encode()) > limit:
            yield _too_long(name, f"index {index} of {collection.name}", limit)


def _too_long(name: str, what: str, limit: int = MAX_INDEXED_BYTES) -> FieldProblem:
    return FieldProblem(name, f"breaks {what}: an indexed text has at most {limit:,} bytes")


@lru_cache
def _indexed_texts(collection: Collection) -> tuple[tuple[str, str, int], ...]:
    """The text fields in ordered indexes, with the index and how many bytes each may have."""
    found = []
    for index in collection.indexes:
        texts = [
            name
            for name, direction in index.keys
            if direction != "text"
            and (place := place_of(collection.validator, name)).kind == "string"
            and not place.many
        ]
        limit = min(MAX_INDEXED_BYTES, 2400 // len(texts)) if texts else 0
        found += [(name, index.name, limit) for name in texts]
    return tuple(found)


def is_bson_type(value: Any, name: str) -> bool:
    """Whether a Python value is of a BSON type, by the type that it is written with."""
    if isinstance(value, bool):
        return name == "bool"
    if isinstance(value, int):
        limit = INT32 if name == "int" else INT64
        return name in ("int", "long", "number") and -limit <= value < limit
    return isinstance(value, _PYTHON_TYPES.get(name, ()))


_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "date": datetime,
    "double": float,
    "number": float,
    "object": dict,
    "array": list,
    "null": type(None),
}


def _bson_type(_: Any, names: Any, value: Any, __: Rule) -> Iterator[SchemaError]:
    wanted = names if isinstance(names, list) else [names]
    if not any(is_bson_type(value, name) for name in wanted):
        yield SchemaError(f"got {type(value).__name__} {_shorten(value)}")


def _required(_: Any, names: list[str], value: Any, __: Rule) -> Iterator[SchemaError]:
    if isinstance(value, dict):
        for name in names:
            if name not in value:
                yield SchemaError("is missing", path=[name])


def _additional(validator: Any, rule: Any, value: Any, schema: Rule) -> Iterator[SchemaError]:
    if isinstance(value, dict) and rule is not True:
        for name in sorted(value.keys() - schema.get("properties", {}).keys()):
            if rule is False:
                yield SchemaError("is not declared", path=[name])
            else:
                yield from validator.descend(value[name], rule, path=name)


def _shortly(keyword: str) -> Any:
    """The library's check of a keyword, with a message that never echoes a whole value."""
    inner = Draft4Validator.VALIDATORS[keyword]

    def check_shortly(
        validator: Any, argument: Any, value: Any, schema: Rule
    ) -> Iterator[SchemaError]:
        for _ in inner(validator, argument, value, schema):
            yield SchemaError(f"got {_shorten(value)}")

    return check_shortly


_ValidatorClass = create(
    meta_schema={},
    validators={
        "bsonType": _bson_type,
        "required": _required,
        "additionalProperties": _additional,
        "properties": Draft4Validator.VALIDATORS["properties"],
        "items": Draft4Validator.VALIDATORS["items"],
        "allOf": Draft4Validator.VALIDATORS["allOf"],
    }
    | {
        keyword: _shortly(keyword)
        for keyword in (
            *("enum", "minProperties", "maxProperties", "minItems", "maxItems", "uniqueItems"),
            *("minLength", "maxLength", "pattern", "minimum", "maximum", "anyOf", "oneOf", "not"),
        )
    },
    type_checker=Draft4Validator.TYPE_CHECKER,
)


@lru_cache
def _validator(collection: Collection) -> Any:
    return _ValidatorClass(collection.validator)


def _shorten(value: Any) -> str:
    text = orjson.dumps(value, default=str, option=orjson.OPT_UTC_Z).decode(errors="replace")
    return text if len(text) <= 120 else text[:117] + "..."
