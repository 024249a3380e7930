"""Conditions on documents as SQL: typed columns where fields are declared, JSON paths elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from neo_polystore.errors import UnsupportedError
from neo_polystore.pgkit.select import COMPARE, Bind, Column, Selection
from neo_polystore.records.conditions import Condition, condition_of, place_in
from neo_polystore.records.documents import Document
from neo_polystore.records.query import Filter
from neo_polystore.records.rules import ID, Place, item_rule, place_of
from neo_polystore.records.values import DATE_MARK, date_text, marked
from neo_polystore.stores.jsonb.sql import LONGEST_WORD, column, literal, member, table, words_of


@dataclass(frozen=True)
class DocumentSelection(Selection):
    """A collection's table. Any path can be asked for; `columns` holds the declared scalars."""

    def expression(self, field: str) -> str:
        """The typed SQL of a declared scalar."""
        found = column(place_in(self.document, field))
        if found is None:
            raise UnsupportedError(f"{self.record.data_type}.{field} is no declared single value")
        return found.sql

    @property
    def document(self) -> type[Document]:
        """The record model, as what it is."""
        return self.record  # type: ignore[return-value]

    def condition(self, item: Filter, bind: Bind) -> str:
        """The SQL of one filter; every path and value is a parameter or a declared name."""
        asked = condition_of(self.document, item)
        found = column(asked.place)
        return _by_column(asked, found, bind) if found else _by_path(asked, bind)

    def selected(self, fields: Collection[str] | None = None) -> str:
        """Whole documents, or the `body` of these fields and paths alone, by the name asked for."""
        if fields is None:
            return "_id, body"
        paths = (place_in(self.document, field).path for field in fields)
        steps = (literal("strict " + json_path(path)) for path in paths)
        pairs = ", ".join(
            f"({literal(field)}, jsonb_path_query_first(body, {step}::jsonpath, '{{}}', true))"
            for field, step in zip(fields, steps, strict=True)
        )
        return (
            "_id, (SELECT coalesce(jsonb_object_agg(name, value), '{}')"
            f" FROM (VALUES {pairs}) AS asked (name, value) WHERE value IS NOT NULL) AS body"
        )

    def having_words(self, field: str, words: Sequence[str], bind: Bind) -> list[str]:
        """The words in the form that the index of a text serves, where it knows all of them."""
        known = [word for word in words if len(word) < LONGEST_WORD and word.isascii()]
        return [f"{words_of((field,))} @> {bind(known)}::text[]"] if known else []

    def searched(self, field: str) -> str:
        """The text in the database's own collation: letter case is not C's to know."""
        return f"({member((field,), text=True)})"


def selection(record: type[Document]) -> DocumentSelection:
    """The selection of one collection."""
    key = Column("_id", "text")
    validator = record.collection.validator
    columns = {"document_id": key}
    for name in validator.get("properties", {}):
        if name != ID and (found := column(place_of(validator, name))):
            columns[name] = found
    return DocumentSelection(record, table(record.collection.name), columns, (key,))


def _by_column(asked: Condition, found: Column, bind: Bind) -> str:
    if not asked.values:
        return f"{found.sql} IS {'NOT ' if asked.operator == 'ne' else ''}NULL"
    if asked.operator == "in":
        values = [date_text(v) if isinstance(v, datetime) else v for v in asked.values]
        return f"{found.sql} = ANY({bind(values)}::{found.type}[])"
    [value] = asked.values
    place = bind(date_text(value) if isinstance(value, datetime) else value)
    if asked.operator == "prefix":
        return f"starts_with({found.sql}, {place})"
    if asked.operator == "ne":
        return f"{found.sql} IS DISTINCT FROM {place}"
    return f"{found.sql} {'=' if asked.operator == 'eq' else COMPARE[asked.operator]} {place}"


def _by_path(asked: Condition, bind: Bind) -> str:
    """A condition by SQL/JSON path: lax mode enters arrays and compares like types only."""
    exists = " OR ".join(_exists(asked, value, bind) for value in asked.values)
    if not asked.values:
        path = f'{json_path(asked.place.path)}.type() ? (@ != "null")'
        exists = f"body @? {bind(path)}::text::jsonpath"
        return f"NOT ({exists})" if asked.operator == "eq" else exists
    return f"NOT coalesce({exists}, false)" if asked.operator == "ne" else exists


def _exists(asked: Condition, value: Any, bind: Bind) -> str:
    place = asked.place
    if asked.operator in ("eq", "ne", "in") and place.named and place.bson_type == "array":
        # the form that a GIN index on the array serves
        return f"{member(place.path)} @> {bind(_contained(place, value))}"
    path = json_path(place.path)
    if isinstance(value, datetime):
        path += "" if place.kind == "date" else "." + _json(DATE_MARK)
        value = date_text(value)
    if asked.operator == "prefix":
        test = f"@ starts with {_json(value)}"
    else:
        test = f"@ {COMPARE.get(asked.operator, '==')} {_json(value)}"
    return f"body @? {bind(f'{path} ? ({test})')}::text::jsonpath"


def _contained(place: Place, value: Any) -> Any:
    """The item that an array must contain, as the array stores it."""
    if isinstance(value, datetime):
        return [marked(value, item_rule(place.rule))]
    return [value]


def json_path(path: tuple[str, ...]) -> str:
    """The SQL/JSON path of a field path."""
    return "$" + "".join("." + _json(step) for step in path)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
