"""How a fact stands in the table: columns, their types, and values on their way in and out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from neo_polystore.errors import UsageError
from neo_polystore.records.analytics import Fact
from neo_polystore.records.times import micros, moment

_EXACT = Context(prec=100)

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(2299, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
"""What DateTime64(6) holds."""


def digits(value: Any) -> str:
    """A number in plain decimal digits, without an exponent; UsageError for anything else."""
    try:
        number = _EXACT.create_decimal(str(value))
    except InvalidOperation:
        raise UsageError(f"analytics.value is a number, not {value!r}") from None
    if not number.is_finite():
        raise UsageError(f"analytics.value is a finite number, not {value!r}")
    return format(number, "f")


def number(text: str) -> Decimal:
    """The number that was written, without the zeros that the column's scale adds."""
    return Decimal(format(Decimal(text).normalize(_EXACT), "f"))


def _time(value: Any) -> int:
    if not isinstance(value, datetime):
        raise UsageError(f"analytics.timestamp is a time, not {value!r}")
    return micros(value)


def _uuid(value: Any) -> str:
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise UsageError(f"analytics.id is a UUID, not {value!r}") from None


@dataclass(frozen=True)
class Column:
    """A field in SQL.

    `sql` is what is compared and ordered by, and `parameter` turns a bound value into the same
    type (`?` stands for the placeholder's name). `bind` makes a Python value bindable, `select`
    reads the field as text or number, and `read` makes the Python value of that again.
    """

    sql: str
    parameter: str
    bind: Callable[[Any], Any]
    select: str
    read: Callable[[Any], Any]


COLUMNS = {
    # as a number, a UUID is ordered as its text is; ClickHouse's own order of UUIDs is another
    "id": Column("toUInt128(id)", "toUInt128({?:UUID})", _uuid, "toString(id)", UUID),
    "timestamp": Column(
        "toUnixTimestamp64Micro(timestamp)",
        "{?:Int64}",
        _time,
        "toUnixTimestamp64Micro(timestamp)",
        moment,
    ),
    "fact_type": Column("fact_type", "{?:String}", str, "fact_type", str),
    "subject": Column("subject", "{?:String}", str, "subject", str),
    "value": Column("value", "{?:Decimal(76, 18)}", digits, "toString(value)", number),
}

NAMES = ("id", "timestamp", "fact_type", "subject", "value", "dimensions")
"""The columns of an insert, in the order of `to_row`."""


def to_row(fact: Fact) -> tuple[Any, ...]:
    """The row to insert; the time as microseconds, which no float has touched."""
    return (
        fact.id,
        micros(fact.timestamp),
        fact.fact_type,
        fact.subject,
        fact.value,
        fact.dimensions,
    )


SELECT_FACT = (
    ", ".join(f"{COLUMNS[name].select} AS {name}_" for name in NAMES[:-1]) + ", dimensions"
)


def from_row(row: tuple[Any, ...]) -> Fact:
    """The fact in a row of `SELECT_FACT`."""
    values = {name: COLUMNS[name].read(value) for name, value in zip(NAMES[:-1], row, strict=False)}
    return Fact(**values, dimensions=row[len(values)])
