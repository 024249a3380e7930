"""Turns a Query into SQL: parameters for every value, column expressions only from the engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.records.base import Record
from neo_polystore.records.query import (
    Filter,
    Operator,
    Query,
    check_field,
    check_limit,
    check_numeric,
    check_orderable,
    decode_cursor,
    members,
)

_WHOLE_WORD = r"\m%s\M"
COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}


Bind = Callable[[Any], str]


class Column(NamedTuple):
    """An SQL expression and its SQL type."""

    sql: str
    type: str


@dataclass(frozen=True)
class Selection:
    """How one record model stands in SQL.

    `source` is the FROM clause; `columns` maps each record field to a column over it; `key` is
    the unique list of columns that breaks ties, in index order; `fixed` is a condition that
    always holds. Every SQL text here is the engine's own, never a caller's.
    """

    record: type[Record]
    source: str
    columns: Mapping[str, Column]
    key: tuple[Column, ...]
    fixed: str | None = None

    def expression(self, field: str) -> str:
        """The SQL of a field or dotted path; UsageError where there is none."""
        check_field(self.record, field)
        head, _, path = field.partition(".")
        if head not in self.columns:
            raise UnsupportedError(f"{self.record.data_type} cannot be queried by {field!r}")
        if not path:
            return self.columns[head].sql
        # the path is data: quoted as a literal, with the only character that could end it doubled
        steps = ",".join("'" + step.replace("'", "''") + "'" for step in path.split("."))
        return f"jsonb_extract_path_text({self.columns[head].sql}, {steps})"

    def condition(self, item: Filter, bind: Bind) -> str:
        """The SQL of one filter; `bind` takes a value and answers its placeholder."""
        column = self.expression(item.field)
        if item.value is None:
            return f"{column} IS {'NOT ' if item.operator == 'ne' else ''}NULL"
        if item.operator == "prefix":
            return f"starts_with({column}::text, {bind(str(item.value))})"
        if item.operator == "in":
            return f"{column} = ANY({bind(list(members(self.record, item.field, item.value)))})"
        value = bind(item.value)
        if item.operator == "eq":
            return f"{column} = {value}"
        if item.operator == "ne":
            return f"{column} IS DISTINCT FROM {value}"
        return f"{column} {COMPARE[item.operator]} {value}"

    def selected(self, fields: Collection[str] | None = None) -> str:
        """The SELECT list that one record, or these fields of it, are made from."""
        names = self.columns if fields is None else fields
        return ", ".join(f'{self.columns[name].sql} AS "{name}"' for name in names)

    def having_words(self, field: str, words: Sequence[str], bind: Bind) -> list[str]:
        """Conditions that an index serves and that every text with all of these words meets."""
        return []

    def searched(self, field: str) -> str:
        """The text that words are looked for in."""
        return f"{self.expression(field)}::text"


@dataclass
class Statement:
    """SQL conditions under construction, with their parameters."""

    selection: Selection
    arguments: list[Any]

    def bind(self, value: Any) -> str:
        """Add a parameter and answer its placeholder."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def conditions(self, query: Query) -> str:
        """The WHERE clause (with the word) for the query's filters, times and text, or ''."""
        parts = [self.selection.fixed] if self.selection.fixed else []
        parts += [self.selection.condition(item, self.bind) for item in query.filters]
        record = self.selection.record
        bounds: tuple[tuple[datetime | None, Operator], ...] = (
            (query.since, "ge"),
            (query.until, "lt"),
        )
        for bound, operator in bounds:
            if bound is not None:
                if record.time_field is None:
                    raise UsageError(f"{record.data_type} have no time to select by")
                item = Filter(record.time_field, operator, bound)
                parts.append(self.selection.condition(item, self.bind))
        if query.text is not None:
            parts += self._words(query.text)
        return "WHERE " + " AND ".join(f"({part})" for part in parts) if parts else ""

    def any_of(self, queries: Sequence[Query]) -> str:
        """An expression, never NULL, for what satisfies any of the queries."""
        parts = (self.conditions(query).removeprefix("WHERE ") for query in queries)
        return " OR ".join(f"coalesce({part or 'true'}, false)" for part in parts) or "false"

    def _words(self, text: str) -> list[str]:
        record = self.selection.record
        if record.text_field is None:
            raise UsageError(f"{record.data_type} have no text to search")
        column = self.selection.searched(record.text_field)
        words = re.findall(r"\w+", text.lower())
        if not words:
            raise UsageError(f"no word to search for in {text!r}")
        indexed = self.selection.having_words(record.text_field, words, self.bind)
        return indexed + [f"{column} ~* {self.bind(_WHOLE_WORD % word)}" for word in words]


def page_sql(
    selection: Selection, query: Query, fields: Collection[str] | None = None
) -> tuple[str, list[Any], list[str]]:
    """SELECT for one page, one row more than the limit; answers SQL, arguments, cursor columns.

    `fields` are the only ones to select, all for None; each has to be one of the columns. Every
    cursor column is selected a second time as text under `cursor_0`, `cursor_1`, ...
    """
    check_limit(query)
    statement = Statement(selection, [])
    where = statement.conditions(query)
    ordering = list(selection.key)
    if query.order is not None:
        check_orderable(selection.record, query.order)
        ordering.insert(0, selection.columns[query.order])
    if query.after is not None:
        values = decode_cursor(query.after, length=len(ordering))
        bounds = ", ".join(
            f"{statement.bind(str(value))}::text::{column.type}"
            for column, value in zip(ordering, values, strict=True)
        )
        place = ", ".join(column.sql for column in ordering)
        condition = f"({place}) {'<' if query.descending else '>'} ({bounds})"
        where = f"{where} AND {condition}" if where else f"WHERE {condition}"
    direction = "DESC" if query.descending else "ASC"
    cursor = ", ".join(f"({column.sql})::text AS cursor_{i}" for i, column in enumerate(ordering))
    order = ", ".join(f"{column.sql} {direction}" for column in ordering)
    sql = (
        f"SELECT {selection.selected(fields)}, {cursor} FROM {selection.source} {where}"
        f" ORDER BY {order} LIMIT {query.limit + 1}"
    )
    return sql, statement.arguments, [f"cursor_{i}" for i in range(len(ordering))]


def count_sql(selection: Selection, query: Query) -> tuple[str, list[Any]]:
    """SELECT count(*) for the query's conditions."""
    statement = Statement(selection, [])
    where = statement.conditions(query)
    return f"SELECT count(*) FROM {selection.source} {where}", statement.arguments


def sum_sql(selection: Selection, query: Query, field: str) -> tuple[str, list[Any]]:
    """SELECT sum(field) for the query's conditions; UsageError where the field is no number."""
    check_numeric(selection.record, field)
    statement = Statement(selection, [])
    where = statement.conditions(query)
    expression = selection.expression(field)
    return f"SELECT sum({expression}) FROM {selection.source} {where}", statement.arguments


def distinct_sql(selection: Selection, query: Query, field: str) -> tuple[str, list[Any]]:
    """SELECT DISTINCT field, sorted, absent values left out."""
    statement = Statement(selection, [])
    where = statement.conditions(query)
    expression = selection.expression(field)
    present = f"{expression} IS NOT NULL"
    where = f"{where} AND {present}" if where else f"WHERE {present}"
    sql = f"SELECT DISTINCT {expression} AS value FROM {selection.source} {where} ORDER BY 1"
    return sql, statement.arguments
