"""Turns a Query into ClickHouse SQL: every value is a bound parameter."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.records.analytics import Fact
from neo_polystore.records.query import (
    Filter,
    Query,
    alternatives,
    check_field,
    check_limit,
    check_numeric,
    check_orderable,
    decode_cursor,
)
from neo_polystore.records.times import micros
from neo_polystore.stores.clickhouse.columns import COLUMNS, EARLIEST, LATEST, SELECT_FACT, Column

_COMPARE = {"eq": "=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_FROM = "FROM facts FINAL"


@dataclass
class Statement:
    """SQL under construction, with its parameters."""

    parameters: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any, pattern: str = "{?:String}") -> str:
        """Add a parameter and answer its placeholder."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return pattern.replace("?", name)

    def where(self, query: Query) -> str:
        """The WHERE clause (with the word) for the query's filters and times, or ''."""
        if query.text is not None:
            raise UsageError("analytics have no text to search")
        parts = [self._condition(item) for item in query.filters]
        for bound, operator in ((query.since, "ge"), (query.until, "lt")):
            if bound is not None:
                parts.append(self._time(operator, bound))
        return "WHERE " + " AND ".join(f"({part})" for part in parts) if parts else ""

    def _condition(self, item: Filter) -> str:
        check_field(Fact, item.field)
        if item.operator == "in":
            each = [self._condition(one) for one in alternatives(Fact, item)]
            return " OR ".join(f"({part})" for part in each)
        head, _, name = item.field.partition(".")
        if head == "dimensions":
            return self._dimension(name, item)
        if item.value is None:
            return "true" if item.operator == "ne" else "false"
        if item.operator == "prefix":
            return f"startsWith({COLUMNS[head].select}::String, {self.bind(str(item.value))})"
        if head == "timestamp":
            return self._time(item.operator, item.value)
        if head == "id" and item.operator == "eq":
            # unlike the comparison of numbers this can use the index
            return f"id = {self.bind(COLUMNS[head].bind(item.value), '{?:UUID}')}"
        return self._compare(COLUMNS[head], item.operator, item.value)

    def _compare(self, column: Column, operator: str, value: Any) -> str:
        bound = self.bind(column.bind(value), column.parameter)
        return f"{column.sql} {_COMPARE.get(operator, '!=')} {bound}"

    def _time(self, operator: str, value: Any) -> str:
        if isinstance(value, datetime) and EARLIEST <= value <= LATEST:
            # compared as the column's own type, so that partitions and the sorting key prune
            bound = self.bind(micros(value), "fromUnixTimestamp64Micro({?:Int64}, 'UTC')")
            return f"timestamp {_COMPARE.get(operator, '!=')} {bound}"
        return self._compare(COLUMNS["timestamp"], operator, value)

    def _dimension(self, name: str, item: Filter) -> str:
        if not name:
            raise UnsupportedError("analytics cannot be selected by all dimensions, name one")
        key = self.bind(name)
        present = f"mapContains(dimensions, {key})"
        if item.value is None:
            return present if item.operator == "ne" else f"NOT {present}"
        value = self.bind(str(item.value))
        if item.operator == "prefix":
            return f"{present} AND startsWith(dimensions[{key}], {value})"
        if item.operator == "ne":
            return f"NOT ({present} AND dimensions[{key}] = {value})"
        return f"{present} AND dimensions[{key}] {_COMPARE[item.operator]} {value}"


def page_sql(query: Query) -> tuple[str, dict[str, Any], list[str]]:
    """SELECT for one page, one row more than the limit; answers SQL, parameters, cursor fields."""
    check_limit(query)
    fields = ["id"]
    if query.order is not None:
        check_orderable(Fact, query.order)
        if query.order != "id":
            fields.insert(0, query.order)
    statement = Statement()
    where = statement.where(query)
    columns = [COLUMNS[name] for name in fields]
    if query.after is not None:
        values = decode_cursor(query.after, length=len(fields))
        place = _after(statement, columns, values, descending=query.descending)
        where = f"{where} AND {place}" if where else f"WHERE {place}"
    direction = "DESC" if query.descending else "ASC"
    order = ", ".join(f"{column.sql} {direction}" for column in columns)
    sql = f"SELECT {SELECT_FACT} {_FROM} {where} ORDER BY {order} LIMIT {query.limit + 1}"
    return sql, statement.parameters, fields


def _after(
    statement: Statement, columns: list[Column], values: list[Any], *, descending: bool
) -> str:
    try:
        bounds = [
            statement.bind(column.bind(column.read(value)), column.parameter)
            for column, value in zip(columns, values, strict=True)
        ]
    except (ArithmeticError, TypeError, ValueError, UsageError):
        raise UsageError(
            "the cursor does not belong to this query: start again without it"
        ) from None
    place = ", ".join(column.sql for column in columns)
    return f"tuple({place}) {'<' if descending else '>'} tuple({', '.join(bounds)})"


def count_sql(query: Query) -> tuple[str, dict[str, Any]]:
    """SELECT count() for the query's conditions."""
    statement = Statement()
    where = statement.where(query)
    return f"SELECT count() {_FROM} {where}", statement.parameters


def sum_sql(query: Query, name: str) -> tuple[str, dict[str, Any]]:
    """SELECT the exact sum as text: 76 digits, where the column's own type would overflow."""
    check_numeric(Fact, name)
    statement = Statement()
    where = statement.where(query)
    return f"SELECT {exact_sum(name)} {_FROM} {where}", statement.parameters


def exact_sum(name: str) -> str:
    """The SQL of a sum that neither rounds nor overflows, as text."""
    return f"toString(sum(toDecimal256({COLUMNS[name].sql}, 18)))"


def distinct_sql(query: Query, name: str) -> tuple[str, dict[str, Any]]:
    """SELECT DISTINCT field in the field's order, absent values left out."""
    check_field(Fact, name)
    statement = Statement()
    where = statement.where(query)
    head, _, path = name.partition(".")
    if head == "dimensions":
        if not path:
            raise UnsupportedError("analytics cannot list all dimensions, name one")
        key = statement.bind(path)
        present = f"mapContains(dimensions, {key})"
        where = f"{where} AND {present}" if where else f"WHERE {present}"
        return f"SELECT DISTINCT dimensions[{key}] AS v {_FROM} {where} ORDER BY v", (
            statement.parameters
        )
    column = COLUMNS[head]
    sql = f"SELECT {column.select} {_FROM} {where} GROUP BY {head} ORDER BY {column.sql}"
    return sql, statement.parameters
