"""Records to JSON and back by what their fields are, without validating what was validated.

Reading costs a fifth of what the model's own validation does. Only for bytes that a checksum has
shown to be ours. A model with a field of a type that is not listed here goes the model's way.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import orjson
from pydantic import ValidationError as PydanticError

from neo_polystore.records.base import Record

Convert = Callable[[Any], Any]

_PLAIN = (str, int, float, bool, list, dict)
_FROM_TEXT: Mapping[type, Convert] = {
    UUID: UUID,
    datetime: datetime.fromisoformat,
    bytes: base64.b64decode,
    IPv4Address: IPv4Address,
    IPv6Address: IPv6Address,
}
_LARGEST = 2**63 - 1
_NUMBERS = "+"
"""Where integers stand that JSON readers would not bring back, as digits by field."""
_JSON = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS


class NotCarriedError(ValueError):
    """This record holds something that its JSON would not bring back."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How a model's records are written and read. `converters` is None for the model's own way.
    `numbers` are the fields that hold integers, which JSON readers bring back up to 64 bits.

    `exact`: whatever can be written is read back equal, so nobody needs to try. `shareable`:
    nothing in a record can be changed, so that many may hold the same one.
    """

    model: type[Record]
    converters: tuple[tuple[str, Convert], ...] | None
    excluded: tuple[str, ...]
    exact: bool = False
    shareable: bool = False
    numbers: tuple[str, ...] = ()

    def dump(self, record: Record) -> bytes:
        """The record's JSON; NotCarriedError where that would not bring it back."""
        if any(getattr(record, name) is not None for name in self.excluded):
            raise NotCarriedError("a field that is never shown holds a value")
        try:
            if self.converters is None:
                return record.model_dump_json(by_alias=True).encode()
            values = record.__dict__
            if self.excluded:
                values = {name: values[name] for name in values if name not in self.excluded}
            large = {
                name: str(value)
                for name in self.numbers
                if (value := values.get(name)) is not None and not -_LARGEST <= value <= _LARGEST
            }
            if large:
                values = values | dict.fromkeys(large) | {_NUMBERS: large}
            return orjson.dumps(values, default=_text, option=_JSON)
        except (TypeError, ValueError) as error:
            raise NotCarriedError(str(error)) from None

    def load(self, body: bytes) -> Record:
        """The record; ValueError for bytes that are no record."""
        if self.converters is None:
            try:
                return self.model.model_validate_json(body)
            except PydanticError as error:
                raise ValueError(str(error)) from None
        values = orjson.loads(body)
        if _NUMBERS in values:
            values |= {name: int(digits) for name, digits in values.pop(_NUMBERS).items()}
        for name, convert in self.converters:
            value = values[name]
            if value is not None:
                values[name] = convert(value)
        return self.model.trusted(values)


@lru_cache
def codec(model: type[Record]) -> Codec:
    """The codec of a model."""
    fields = model.__pydantic_fields__
    excluded = tuple(name for name, field in fields.items() if field.exclude)
    converters: list[tuple[str, Convert]] = []
    numbers: list[str] = []
    exact = shareable = True
    for name, field in fields.items():
        if name in excluded:
            continue
        kinds = _kinds(field.annotation)
        exact = exact and kinds <= {str, int, bool, UUID, datetime}
        shareable = shareable and not kinds & {list, dict}
        if int in kinds:
            numbers.append(name)
        if len(kinds) == 1 and (found := _FROM_TEXT.get(next(iter(kinds)))):
            converters.append((name, found))
        elif kinds == {IPv4Address, IPv6Address}:
            converters.append((name, ip_address))
        elif not all(kind in _PLAIN for kind in kinds) or len(kinds) != 1:
            return Codec(model, None, excluded)
    return Codec(model, tuple(converters), excluded, exact, shareable, tuple(numbers))


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field may hold, beside None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {kind for part in get_args(annotation) for kind in _kinds(part)}
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    if origin in (list, dict):
        return {origin} if set(get_args(annotation)[-1:]) <= {Any, dict[str, Any]} else {annotation}
    if annotation is NoneType:
        return set()
    return {_underlying(annotation)}


def _underlying(annotation: Any) -> Any:
    """Aware datetimes and such are pydantic's names for plain types."""
    name = getattr(annotation, "__name__", "")
    return datetime if name == "AwareDatetime" else annotation


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, UUID | IPv4Address | IPv6Address):  # drivers have UUIDs of their own
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON")
