"""Values and times of InfluxDB line protocol."""

from __future__ import annotations

import math
from typing import Final

from neo_polystore.protocols.line_words import LineError

_TRUE: Final = frozenset((b"t", b"T", b"true", b"True", b"TRUE"))
_FALSE: Final = frozenset((b"f", b"F", b"false", b"False", b"FALSE"))
_BOUNDS: Final = {b"i": (-(2**63), 2**63 - 1), b"u": (0, 2**64 - 1)}
_LONGEST: Final = 400
"""Characters of a number: more digits than any float needs."""


class TextError(ValueError):
    """The field is a string, which is no number."""


def number_of(value: bytes) -> float:
    """The number of a field: float, integer (`i`), unsigned (`u`); booleans are 1 and 0.

    An integer beyond 2**53 becomes the nearest float. Raises TextError for a string, LineError
    for what is no value, NaN and infinity among it, which this protocol does not have.
    """
    if not value.strip(b"0123456789.+-eE"):
        try:
            number = float(value) if len(value) <= _LONGEST else math.inf
        except ValueError:
            raise _no_value(value) from None
        if math.isinf(number):
            raise LineError(f"{_shown(value)} is too large for a 64-bit float")
        return number
    if bounds := _BOUNDS.get(value[-1:]):
        digits = value[:-1].removeprefix(b"-")
        if digits.isdigit() and len(digits) <= 20:
            integer = int(value[:-1])
            if bounds[0] <= integer <= bounds[1]:
                return float(integer)
            raise LineError(f"{_shown(value)} does not fit 64 bits")
    if value in _TRUE:
        return 1.0
    if value in _FALSE:
        return 0.0
    if value[:1] == b'"':
        raise TextError("text is not stored: only numbers and booleans are")
    raise _no_value(value)


def time_of(word: bytes) -> int:
    """A timestamp as it stands; LineError where it is no whole number of 64 bits."""
    digits = word.removeprefix(b"-")
    if digits.isdigit() and len(digits) <= 19:
        time = int(word)
        if -(2**63) <= time < 2**63:
            return time
    raise LineError(f"time {_shown(word)}: expected a whole number of 64 bits")


def _no_value(value: bytes) -> LineError:
    return LineError(f"{_shown(value)} is no number, boolean or string")


def _shown(word: bytes) -> str:
    return repr(word[:40].decode(errors="replace"))
