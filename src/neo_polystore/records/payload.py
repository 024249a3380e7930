"""Records as JSON on their way through a queue: what comes out equals what went in."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from neo_polystore.errors import CorruptDataError, FieldProblem, ValidationError
from neo_polystore.records.base import Record
from neo_polystore.records.documents import Document

_MARK = "$polystore"
"""The only member of an object that stands for a value which JSON does not have. No document can
have one itself: its field names do not start with `$`."""


def to_payload(record: Record) -> dict[str, Any]:
    """The record as a JSON object; `from_payload` of it is an equal record.

    Raises ValidationError, naming the fields, for a record that its own model refuses (it may
    have been made without checks), and CorruptDataError for one that JSON would not give back as
    it is: an excluded secret, a NaN.
    """
    if isinstance(record, Document):
        payload = {name: _mark(value) for name, value in record.body().items()}
    else:
        payload = record.model_dump(mode="json", by_alias=True)
    if from_payload(type(record), payload) != record:
        raise CorruptDataError(
            f"{record.data_type} {record.key!r} holds what a queue would not give back as it is"
        )
    return payload


def from_payload(model: type[Record], payload: Any) -> Record:
    """The record of a payload, or of plain JSON; raises ValidationError naming the fields."""
    if not isinstance(payload, dict):
        raise ValidationError([FieldProblem("record", "expected a JSON object")])
    if issubclass(model, Document):
        try:
            payload = {name: _unmark(value) for name, value in payload.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ValidationError(
                [FieldProblem("record", f"no payload of ours: {error}")]
            ) from None
    return model.parse(payload)


def _mark(value: Any) -> Any:
    if isinstance(value, datetime):
        return {_MARK: {"date": value.isoformat()}}
    if isinstance(value, float) and (abs(value) >= 1e15 or value != value or _negative_zero(value)):
        # a database may write these as integers, or not at all
        return {_MARK: {"float": value.hex()}}
    if isinstance(value, dict):
        return {name: _mark(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mark(item) for item in value]
    return value


def _unmark(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmark(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _MARK not in value:
        return {name: _unmark(item) for name, item in value.items()}
    [(kind, content)] = value[_MARK].items()
    if kind == "date":
        return datetime.fromisoformat(content)
    if kind == "float":
        return float.fromhex(content)
    raise ValueError(f"unknown mark {kind!r}")


def _negative_zero(value: float) -> bool:
    return value == 0 and math.copysign(1, value) < 0
