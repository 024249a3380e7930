"""The values that a document may hold in every engine: JSON's own, and aware datetimes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from neo_polystore.errors import FieldProblem
from neo_polystore.records.rules import Rule, field_name_problem, item_rule, member_rule

MAX_BYTES = 16 * 1024 * 1024
"""The largest document, as BSON."""

MAX_DEPTH = 100
"""How deep objects and arrays may nest."""

DATE_MARK = "$date"
"""In JSON, a date that nobody declared is `{"$date": text}`; no field name starts with $."""

INT32, INT64 = 2**31, 2**63

NO_SUCH_YEAR = "a time before year 1 or after year 9999 in UTC"


def to_milliseconds(value: datetime) -> datetime:
    """The same instant in UTC, cut (not rounded) to the milliseconds that a BSON date holds.

    Raises ValueError where UTC has no such year: before 1 or after 9999.
    """
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        raise ValueError(NO_SUCH_YEAR) from None
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def has_year(value: datetime) -> bool:
    """Whether an aware time has a year in UTC."""
    try:
        return value.tzinfo is UTC or value.astimezone(UTC) is not None
    except OverflowError:
        return False


def date_text(value: datetime) -> str:
    """`2026-01-31T12:00:00.000Z`: always 24 characters, so that text order is time order."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    # this cuts what is finer than a millisecond, and ends in +00:00
    return value.isoformat(timespec="milliseconds")[:-6] + "Z"


def marked(value: datetime, rule: Rule) -> str | dict[str, str]:
    """A date in JSON: plain text where one is declared, marked anywhere else."""
    text = date_text(value)
    return text if rule.get("bsonType") == "date" else {DATE_MARK: text}


def mapped(value: Any, rule: Rule, leaf: Callable[[Any, Rule], Any]) -> Any:
    """The value with every scalar in it replaced by `leaf(scalar, the rule declared for it)`.

    A marked date counts as one scalar.
    """
    if isinstance(value, dict):
        if len(value) == 1 and DATE_MARK in value:
            return leaf(value, rule)
        return {name: mapped(item, member_rule(rule, name), leaf) for name, item in value.items()}
    if isinstance(value, list):
        inner = item_rule(rule)
        return [mapped(item, inner, leaf) for item in value]
    return leaf(value, rule)


def is_text(value: str) -> bool:
    """Whether stores can hold this text: no NUL character, no half of a surrogate pair."""
    if "\x00" in value:
        return False
    return value.isascii() or value.encode(errors="replace").decode() == value


def value_problems(body: dict[str, Any]) -> list[FieldProblem]:
    """Names and values that some engine could not keep as they are, each with its path."""
    problems: list[FieldProblem] = []
    size = _measure(body, (), problems)
    if not problems and size > MAX_BYTES:
        problems.append(
            FieldProblem("document", f"{size:,} bytes as BSON, {MAX_BYTES:,} are the most")
        )
    return problems


def _measure(value: Any, path: tuple[str, ...], problems: list[FieldProblem]) -> int:
    """The size of a value as BSON (bsonspec.org, version 1.1); adds what is wrong on the way."""
    if isinstance(value, str):
        return 5 + _measure_text(value, path, problems)
    if value is None:
        return 0
    if isinstance(value, bool):
        return 1
    if isinstance(value, int):
        if not -INT64 <= value < INT64:
            _add(problems, path, "a whole number of more than 64 bits: write it as text")
        return 4 if -INT32 <= value < INT32 else 8
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            _add(problems, path, f"{value} is no JSON number")
        return 8
    if isinstance(value, datetime):
        if value.tzinfo is None:
            _add(problems, path, "a time without a zone")
        elif not has_year(value):
            _add(problems, path, NO_SUCH_YEAR)
        return 8
    if isinstance(value, dict | list):
        return _measure_nested(value, path, problems)
    _add(problems, path, f"a value of type {type(value).__name__} cannot be kept in a document")
    return 0


def _measure_nested(
    value: dict[Any, Any] | list[Any], path: tuple[str, ...], problems: list[FieldProblem]
) -> int:
    if len(path) >= MAX_DEPTH:
        _add(problems, path[:8], f"nested deeper than {MAX_DEPTH} levels")
        return 0
    size = 5
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        if isinstance(name, int) and isinstance(value, list):
            size += 2 + len(str(name)) + _measure(item, (*path, str(name)), problems)
            continue
        if not isinstance(name, str):
            _add(problems, (*path, repr(name)[:60]), "a field name must be text")
            continue
        inner = (*path, name)
        if reason := field_name_problem(name):
            _add(problems, inner, reason)
        size += 2 + _measure_text(name, inner, problems, named=True)
        size += _measure(item, inner, problems)
    return size


def _measure_text(
    text: str, path: tuple[str, ...], problems: list[FieldProblem], *, named: bool = False
) -> int:
    if text.isascii():
        if "\x00" in text and not named:
            _add(problems, path, "contains a NUL character, which no store can hold")
        return len(text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        _add(problems, path, "contains half of a surrogate pair, which is no Unicode text")
        return 0
    if "\x00" in text and not named:
        _add(problems, path, "contains a NUL character, which no store can hold")
    return size


def _add(problems: list[FieldProblem], path: tuple[str, ...], reason: str) -> None:
    # the path may hold what is wrong with it
    name = ".".join(path).encode(errors="replace").decode().replace("\x00", "\\0")
    problems.append(FieldProblem(name or "document", reason))
