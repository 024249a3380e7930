"""What the server says against a record: field, constraint and value, never the server's own text.

That text may hold the whole row (`Failing row contains ...`), passwords' hashes and all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import asyncpg

from neo_polystore.errors import FieldProblem
from neo_polystore.records.base import is_secret

SHOWN = 60
"""Characters of a value that an error shows at most."""

# "Key (tenant_id, email)=(0190..., a@example.org) already exists." in whatever language
_KEY = re.compile(r"\((?P<columns>[^()]+)\)=\((?P<values>.*)\)", re.DOTALL)
_LIMIT = re.compile(r"\((\d+)\)")
_ARGUMENT = re.compile(r"query argument \$\d+")

_RANGES = {"smallint": 2**15, "int": 2**31, "integer": 2**31, "bigint": 2**63}

_REASONS = {
    "22001": "is too long",
    "22003": "is out of range",
    "22007": "is no time that the store can hold",
    "22008": "is no time that the store can hold",
    "22021": "contains a character that no store can hold",
    "22P02": "is not of its field's type",
    "22P03": "is not of its field's type",
    "22P05": "contains a character that no store can hold",
    "23502": "is required",
    "23503": "refers to nothing that is stored",
    "23505": "is already taken",
    "23514": "is not allowed",
    "23P01": "overlaps with what is stored",
    "54000": "is too large",
}


def is_ours(error: asyncpg.PostgresError) -> bool:
    """Whether the message was raised by a function of this package, and so is meant for people."""
    return getattr(error, "server_source_function", None) == "exec_stmt_raise"


def complaint(error: asyncpg.PostgresError) -> FieldProblem:
    """The server's complaint about one record, as far as the server says what it is about."""
    constraint: str | None = getattr(error, "constraint_name", None)
    if is_ours(error):
        return FieldProblem(constraint or "record", str(error.args[0]), constraint)
    code = error.sqlstate or ""
    field, value = _named(error, constraint)
    reason = _REASONS.get(code, "was refused by the store")
    if code == "22001" and (limit := _LIMIT.search(str(error.args[0]))):
        reason = f"is longer than {limit[1]} characters"
    if code == "23503" and "referenced" in (error.detail or ""):
        reason = f"is still referred to by {getattr(error, 'table_name', None) or 'another table'}"
    if _ARGUMENT.search(str(error.args[0])):
        reason = "is nothing that its column can hold"
    return FieldProblem(field, told(reason, value, constraint), constraint, value)


def told(reason: str, value: str | None, constraint: str | None) -> str:
    """The reason in one sentence with the value and the constraint, where they are known."""
    text = reason if value is None else f"{reason}: {value}"
    return text if constraint is None else f"{text} (constraint {constraint})"


def about(
    problem: FieldProblem, values: Mapping[str, Any], types: Mapping[str, str]
) -> FieldProblem:
    """The same complaint with the field and value that it must be about, if one is to be found.

    `values` are what was to be stored, by field, and `types` their SQL types.
    """
    field = problem.field
    if field not in values:
        field = next(
            (name for name, value in values.items() if _fits(problem, value, types.get(name))),
            field,
        )
    if field not in values or problem.value is not None:
        return problem
    value = shown(field, values[field])
    reason = problem.reason.removesuffix(f" (constraint {problem.constraint})")
    return FieldProblem(field, told(reason, value, problem.constraint), problem.constraint, value)


def shown(field: str, value: object) -> str | None:
    """A value for people: shortened, in one line, and never that of a secret field."""
    if value is None or is_secret(field):
        return None
    text = value if isinstance(value, str) else str(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    text = text if text.isprintable() else ascii(text)[1:-1]
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def _named(error: asyncpg.PostgresError, constraint: str | None) -> tuple[str, str | None]:
    """Field and value, where the server names them."""
    column = getattr(error, "column_name", None)
    if column:
        return column, None
    if found := _KEY.search(error.detail or ""):
        columns, values = found["columns"].split(", "), found["values"].split(", ")
        # the tenant is part of most keys, and never what is wrong
        field = next((name for name in reversed(columns) if name != "tenant_id"), columns[-1])
        known = len(columns) == len(values)
        return field, shown(field, values[columns.index(field)]) if known else None
    table = getattr(error, "table_name", None)
    if constraint and table:
        plain = constraint.removeprefix(f"{table}_")
        return re.sub(r"_(check|key|fkey|unique|not_null)$", "", plain) or constraint, None
    return "value", None


def _fits(problem: FieldProblem, value: object, sql_type: str | None) -> bool:
    """Whether this value can be what the server refused."""
    if isinstance(value, str):
        if limit := re.search(r"longer than (\d+)", problem.reason):
            return len(value) > int(limit[1])
        unreadable = "\x00" in value or value.encode(errors="replace").decode() != value
        return unreadable and "can hold" in problem.reason
    if isinstance(value, int) and sql_type in _RANGES:
        most = _RANGES[sql_type]
        return not -most <= value < most
    return False
