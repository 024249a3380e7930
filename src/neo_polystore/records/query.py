"""The typed query language that every record port answers: filters, time, text, order, pages."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError

from neo_polystore.errors import UsageError
from neo_polystore.records.base import Record, problems_of

Operator = Literal["eq", "ne", "lt", "le", "gt", "ge", "prefix", "in"]

_OPERATORS: Mapping[str, Operator] = {
    "!=": "ne",
    ">=": "ge",
    "<=": "le",
    "^=": "prefix",
    ":=": "in",
    "=": "eq",
    ">": "gt",
    "<": "lt",
}
_CONDITION = re.compile(r"\s*([A-Za-z_][\w.\-]*)\s*(!=|>=|<=|\^=|:=|=|>|<)(.*)", re.DOTALL)

MAX_LIMIT = 10_000
MAX_MEMBERS = 1_000
"""The values that `in` may choose from."""


@dataclass(frozen=True, slots=True)
class Filter:
    """`field operator value`; None asks whether the field is absent (eq) or present (ne).

    A dotted field (`tags.host`) reaches into a mapping. `in` takes a list or tuple of values, at
    least one: any of them may be the field's.
    """

    field: str
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class Query:
    """Which records, in which order, and where to continue.

    `since` and `until` bound the record's time field as a half-open interval [since, until).
    `text` asks for all of its words in the record's text field, in any letter case.
    `order` is a field that is never absent; ties are broken by key; None orders by key alone.
    `after` is the cursor that the previous page answered, for the same query.

    Queries are specifications: `active & recent` asks for what satisfies both.
    """

    filters: tuple[Filter, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    order: str | None = None
    descending: bool = False
    limit: int = 100
    after: str | None = None

    def where(self, field: str, value: Any, operator: Operator = "eq") -> Query:
        """The same query with one more condition."""
        return replace(self, filters=(*self.filters, Filter(field, operator, value)))

    def __and__(self, other: Query) -> Query:
        """The conditions of both, in the order, limit and place of the one that says any.

        Raises UsageError where both say some, and not the same.
        """
        mine, theirs = self._paging(), other._paging()
        if Query() not in (mine, theirs) and mine != theirs:
            raise UsageError("both queries have an order, limit or cursor: give it to one of them")
        starts = [time for time in (self.since, other.since) if time is not None]
        ends = [time for time in (self.until, other.until) if time is not None]
        return replace(
            theirs if mine == Query() else mine,
            filters=(*self.filters, *other.filters),
            since=max(starts, default=None),
            until=min(ends, default=None),
            text=" ".join(filter(None, (self.text, other.text))) or None,
        )

    def _paging(self) -> Query:
        """The query without its conditions."""
        return replace(self, filters=(), since=None, until=None, text=None)


def parse_condition(record: type[Record], text: str) -> Filter:
    """Read `field=value` (also != < <= > >= and ^= for a prefix) with the field's own type.

    `field:=a,b` asks for any of the values. An empty value means "absent". Raises UsageError
    naming the fields there are.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UsageError(f"cannot read condition {text!r}: expected field=value")
    name, symbol, raw = match.groups()
    operator = _OPERATORS[symbol]
    adapter = _adapter(record, name)
    if raw == "":
        if operator not in ("eq", "ne"):
            raise UsageError(f"condition {text!r} needs a value")
        return Filter(name, operator, None)
    if operator == "prefix":
        return Filter(name, operator, raw)
    if operator == "in":
        values = [_coerce(adapter, record, name, part) for part in raw.split(",")]
        return Filter(name, operator, members(record, name, values))
    return Filter(name, operator, _coerce(adapter, record, name, raw))


def members(record: type[Record], field: str, value: Any) -> tuple[Any, ...]:
    """The values of an `in`; raises UsageError where they are none, too many or no list."""
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MAX_MEMBERS:
        raise UsageError(f"{record.data_type}.{field}: in needs 1 to {MAX_MEMBERS:,} values")
    if any(item is None for item in value):
        raise UsageError(f"{record.data_type}.{field}: in cannot ask for what is absent")
    return tuple(value)


def alternatives(record: type[Record], item: Filter) -> list[Filter]:
    """An `in` as filters of which any may hold, for engines that have no word for it."""
    values = members(record, item.field, item.value)
    return [Filter(item.field, "eq", value) for value in values]


def parse_order(record: type[Record], text: str) -> tuple[str, bool]:
    """Read `field` or `-field` (descending) and check that pages can be cut by it."""
    name, descending = text.removeprefix("-"), text.startswith("-")
    check_orderable(record, name)
    return name, descending


def check_field(record: type[Record], name: str) -> None:
    """Raise UsageError unless the record has this field (or a mapping that the path enters)."""
    _adapter(record, name)


def check_orderable(record: type[Record], name: str) -> None:
    """Raise UsageError unless the field exists and is never absent."""
    if name not in orderable_fields(record):
        choice = ", ".join(orderable_fields(record))
        raise UsageError(
            f"{record.data_type} cannot be ordered by {name!r}; choose one of {choice}"
        )


def check_limit(query: Query) -> None:
    """Raise UsageError unless the query's limit is between 1 and MAX_LIMIT."""
    if not 0 < query.limit <= MAX_LIMIT:
        raise UsageError(f"limit must be between 1 and {MAX_LIMIT}, got {query.limit}")


def check_numeric(record: type[Record], name: str) -> None:
    """Raise UsageError unless the field exists and is a number."""
    check_field(record, name)
    info = record.model_fields.get(name)
    annotation: Any = info.annotation if info else str
    schema = TypeAdapter(annotation).json_schema()
    kinds = {schema.get("type"), *(item.get("type") for item in schema.get("anyOf", []))}
    if not kinds & {"integer", "number"}:
        raise UsageError(f"{record.data_type}.{name} is no number, it cannot be summed")


@lru_cache
def orderable_fields(record: type[Record]) -> tuple[str, ...]:
    """The fields that are never absent and have an order of their own."""
    return tuple(
        name
        for name, info in record.model_fields.items()
        if not _is_optional(info.annotation)
        and get_origin(_bare(info.annotation)) not in (dict, list)
        and _bare(info.annotation) not in (bytes, bool, dict, list)
        and info.exclude is not True
    )


def parse_time(text: str, *, now: datetime | None = None) -> datetime:
    """Read an ISO 8601 time or date (UTC where no zone is given), or an age such as `24h`, `7d`."""
    if match := re.fullmatch(r"(\d+)([smhdw])", text):
        seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[match[2]]
        return (now or datetime.now(UTC)) - timedelta(seconds=int(match[1]) * seconds)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"cannot read time {text!r}: expected ISO 8601 (2026-01-31T12:00:00Z) or an age (24h)"
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def encode_cursor(values: list[Any]) -> str:
    """The position after one record, as opaque URL-safe text; `values` are JSON values."""
    return base64.urlsafe_b64encode(orjson.dumps(values, default=str)).rstrip(b"=").decode()


def decode_cursor(cursor: str, *, length: int) -> list[Any]:
    """The values that `encode_cursor` was given; raises UsageError for anything else."""
    try:
        values = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        values = None
    if not isinstance(values, list) or len(values) != length:
        raise UsageError("the cursor does not belong to this query: start again without it")
    return values


@lru_cache(maxsize=1024)
def _adapter(record: type[Record], name: str) -> TypeAdapter[Any]:
    head, _, path = name.partition(".")
    info = record.model_fields.get(head)
    if info is None or info.exclude is True:
        if info is None and record.model_config.get("extra") == "allow":
            return TypeAdapter(str)
        names = ", ".join(n for n, i in record.model_fields.items() if i.exclude is not True)
        raise UsageError(f"{record.data_type} has no field {name!r}; it has {names}")
    if record.model_config.get("extra") == "allow" and (path or _is_list(info.annotation)):
        # the engine asks the collection's validator what lies there; an item of a list is enough
        return TypeAdapter(str)
    if path:
        if get_origin(_bare(info.annotation)) is not dict and _bare(info.annotation) is not dict:
            raise UsageError(f"{record.data_type}.{head} has no parts: {name!r} does not exist")
        return TypeAdapter(str)
    annotation: Any = info.annotation
    for constraint in info.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation)


def _coerce(adapter: TypeAdapter[Any], record: type[Record], name: str, raw: str) -> Any:
    try:
        return adapter.validate_strings(raw)
    except PydanticError as error:
        reason = problems_of(error)[0].reason
        raise UsageError(f"{record.data_type}.{name}: {reason}") from None


def _bare(annotation: Any) -> Any:
    """The annotation without Optional and Annotated."""
    if get_origin(annotation) in (Union, UnionType):
        inner = [a for a in get_args(annotation) if a is not NoneType]
        return _bare(inner[0]) if len(inner) == 1 else annotation
    if hasattr(annotation, "__metadata__"):
        return _bare(annotation.__origin__)
    return annotation


def _is_list(annotation: Any) -> bool:
    return list in (get_origin(_bare(annotation)), _bare(annotation))


def _is_optional(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


def jsonable(value: Any) -> Any:
    """A cursor or answer value in JSON's own types (large integers as digits)."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return str(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
