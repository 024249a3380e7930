"""What every record has: a key, typed fields, and one way to read a bad one's problems."""

from __future__ import annotations

import base64
import binascii
import re
from abc import abstractmethod
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
)
from pydantic import ValidationError as PydanticError

from neo_polystore.errors import FieldProblem, ValidationError

MAX_AMOUNT = 10**78 - 1
"""The largest amount NUMERIC(78,0) holds; 2**256 - 1 has 78 digits."""


def _amount(value: object) -> int:
    """Read a non-negative integer of at most 78 digits without going through a float."""
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.removeprefix("-").isdigit()):
            raise ValueError(f"expected a whole number in decimal digits, got {text[:40]!r}")
        if len(text) > 100:
            raise ValueError(f"expected at most 78 digits, got {len(text)}")
        value = int(text)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {type(value).__name__}")
    if value < 0:
        raise ValueError(f"expected a non-negative number, got {value}")
    if value > MAX_AMOUNT:
        raise ValueError("expected at most 78 digits")
    return value


def _clean_text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("contains a NUL character, which no store can hold")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(
                "contains half of a surrogate pair, which is no Unicode text"
            ) from None
    return value


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _address(value: str) -> str:
    """Lower-case hexadecimal addresses; leave other alphabets (base58 is case-sensitive) alone."""
    if value[:2] in ("0x", "0X"):
        digits = value[2:].lower()
        if len(digits) != 40 or not _is_hex(digits):
            raise ValueError(f"expected 0x and 40 hexadecimal digits, got {value[:80]!r}")
        return "0x" + digits
    if not (25 <= len(value) <= 255 and value.isascii() and value.isalnum()):
        raise ValueError(f"expected a 0x or base58 address, got {value[:80]!r}")
    return value


def _hash32(value: str) -> str:
    digits = value.lower().removeprefix("0x")
    if len(digits) != 64 or not _is_hex(digits):
        raise ValueError(f"expected 32 bytes as 0x and 64 hexadecimal digits, got {value[:80]!r}")
    return "0x" + digits


def _bytes(value: object) -> object:
    """Text stands for bytes in base64 (RFC 4648, section 4), whichever way it came in."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(f"expected base64: {error}") from None
    return value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _is_hex(digits: str) -> bool:
    return not set(digits) - set("0123456789abcdef")


Text = Annotated[str, AfterValidator(_clean_text)]
Text50 = Annotated[Text, StringConstraints(min_length=1, max_length=50)]
Text100 = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
Text255 = Annotated[Text, StringConstraints(min_length=1, max_length=255)]
Text500 = Annotated[Text, StringConstraints(min_length=1, max_length=500)]
Utc = Annotated[AwareDatetime, AfterValidator(_utc)]
Amount = Annotated[
    int, BeforeValidator(_amount), PlainSerializer(str, return_type=str, when_used="json")
]
Address = Annotated[str, AfterValidator(_address)]
Hash32 = Annotated[str, AfterValidator(_hash32)]
Blob = Annotated[
    bytes, BeforeValidator(_bytes), PlainSerializer(_base64, return_type=str, when_used="json")
]


class Record(BaseModel):
    """One typed record. Subclasses name their data type and, where they have one, their time.

    `key` identifies the record within its data type; writing a record with the same key again
    never makes a second one. `--since`/`--until` compare `time_field`, `--text` searches
    `text_field`. JSON carries amounts as strings of digits and bytes as base64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_type: ClassVar[str]
    time_field: ClassVar[str | None] = None
    text_field: ClassVar[str | None] = None

    @property
    @abstractmethod
    def key(self) -> str:
        """The natural or given key, as text."""

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Validate untrusted input; raises ValidationError with the field and reason of each."""
        try:
            return cls.model_validate(data)
        except PydanticError as error:
            raise ValidationError(problems_of(error), operation=f"parse {cls.data_type}") from None

    @classmethod
    def trusted(cls, values: dict[str, Any]) -> Self:
        """The record of values that were checked before they were stored; checks nothing.

        Takes `values` over; fields that are not in it get their defaults. An eighth of the cost
        of validating.
        """
        record = cls.__new__(cls)
        put = object.__setattr__
        put(record, "__pydantic_fields_set__", set(values))
        if len(values) < len(cls.__pydantic_fields__):
            values = {**_defaults(cls), **values}
        put(record, "__dict__", values)
        put(record, "__pydantic_extra__", None)
        put(record, "__pydantic_private__", None)
        return record


@cache
def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    return {
        name: field.get_default(call_default_factory=True)
        for name, field in model.__pydantic_fields__.items()
        if not field.is_required()
    }


def problems_of(error: PydanticError) -> list[FieldProblem]:
    """Pydantic's complaint as field problems, without echoing whole inputs."""
    problems = []
    for item in error.errors(include_url=False, include_input=True):
        name = ".".join(str(part) for part in item["loc"]) or "record"
        reason = item["msg"].removeprefix("Value error, ")
        if item["type"] not in _TOLD and not is_secret(name):
            reason = f"{reason}, got {_shorten(item['input'])}"
        problems.append(FieldProblem(name, reason))
    return problems


_TOLD = ("missing", "extra_forbidden", "value_error")
"""Kinds of complaint that need no value, or name it themselves."""

_SECRET = re.compile(
    r"passw|secret|token|private|credential|encrypt|cipher|seal|blob|payload|mfa|(^|_)mac$"
)


def is_secret(field: str) -> bool:
    """Whether a field of this name may hold something that no message and no log may show."""
    return _SECRET.search(field.lower()) is not None


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
