"""JSON for jsonb columns: no digit lost either way, and what jsonb cannot hold refused by name."""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from typing import Any

import orjson

# an integer that 64 bits may not hold: orjson would read it as a float
_LONG_NUMBER = re.compile(r"\d{19}")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def dumps(value: Any) -> str:
    """JSON text that a jsonb column takes and gives back as the same value.

    Raises ValueError with a reason for what jsonb cannot hold: NUL characters, lone surrogates,
    NaN and infinities, nesting deeper than 250. Integers have any size; values of other types
    become text.
    """
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError as error:
        text = _dumps_slowly(value, str(error))
    # orjson writes null for NaN, which would be another value
    if "null" in text:
        _refuse_non_finite(value)
    if "\\u0000" in text and _NUL.search(text):
        raise ValueError("contains a NUL character, which no store can hold")
    return text


def loads(text: str) -> Any:
    """The value of a jsonb column; integers of any size stay integers."""
    return json.loads(text) if _LONG_NUMBER.search(text) else orjson.loads(text)


def _dumps_slowly(value: Any, reason: str) -> str:
    if "64-bit" not in reason:
        raise ValueError(f"cannot be written as JSON: {reason}")
    try:
        text = json.dumps(
            value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from None
    return text


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _refuse_non_finite(value: Any) -> None:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ValueError(f"contains {value}, which JSON has no number for")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_non_finite(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_non_finite(item)
