"""What a loader is: a function that turns a file into records and, where it cannot, problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from neo_polystore.errors import FieldProblem, ValidationError
from neo_polystore.ids import SYSTEM_USER
from neo_polystore.loaders.source import Source
from neo_polystore.records.base import Record

NO_NAMES: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What a file does not say of itself. `now` stands where a record states no time of its own."""

    chain_id: int | None = None
    service: str | None = None
    name: str | None = None
    system: str | None = None
    encoding: str | None = None
    owner: UUID = SYSTEM_USER
    network: str | None = None
    address: str | None = None
    table: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Loaded:
    """A good record and its number in the file, counted from 1."""

    number: int
    record: Record


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read; number 0 stands for the file as a whole.

    `field` is the name that the file gives it, or `record` where no field can be blamed.
    """

    number: int
    field: str
    reason: str


Item = Loaded | BadRecord

Loader = Callable[[Source, LoadOptions], Iterator[Item]]
"""Yields items in file order, in memory bounded by the longest record, and raises FileProblem."""


def build(
    model: type[Record], data: Mapping[str, Any], number: int, names: Mapping[str, str] = NO_NAMES
) -> Item:
    """Validate one record; `names` turns the model's field names into those of the file."""
    try:
        return Loaded(number, model.parse(dict(data)))
    except ValidationError as error:
        return bad(number, error.problems, names)


def bad(
    number: int, problems: list[FieldProblem], names: Mapping[str, str] = NO_NAMES
) -> BadRecord:
    """One rejection per record: the first problem, with the others told in its reason."""

    def named(problem: FieldProblem) -> str:
        head, dot, rest = problem.field.partition(".")
        return names.get(head, head) + dot + rest

    first, *others = problems
    reason = "; also ".join([first.reason, *(f"{named(p)}: {p.reason}" for p in others)])
    return BadRecord(number, named(first), reason)


def read_time(value: object) -> datetime:
    """Unix seconds, or ISO 8601 with or without a zone (none, and a final ` UTC`, are UTC).

    Raises ValueError with the reason for anything else.
    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        text = str(value).strip()
        if text.isascii() and text.isdigit():
            return datetime.fromtimestamp(int(text), UTC)
        time = datetime.fromisoformat(text.removesuffix(" UTC"))
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"expected ISO 8601 or Unix seconds, got {str(value)[:60]!r}"
            if isinstance(value, str | int | float)
            else f"expected a time, got {type(value).__name__}"
        ) from None
