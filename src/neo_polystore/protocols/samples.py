"""Samples of remote write to arrays: numpy reads the two shapes that nearly all of them have.

A sample is a message of a double (field 1) and a varint of milliseconds (field 2); a value of
zero is left out. Milliseconds of the years 2004 to 2109 take six bytes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from neo_polystore.protocols.errors import MalformedError
from neo_polystore.protocols.remote_write_messages import Sample
from neo_polystore.records.metric_columns import Floats, Integers

Bytes = NDArray[np.uint8]

VALUED: Final = 16
"""Bytes of a sample with a value: key, 8 bytes, key, 6 bytes."""
ZERO: Final = 7
"""Bytes of a sample whose value is zero: key, 6 bytes."""

_VALUE_KEY: Final = 0x09
_TIME_KEY: Final = 0x10
_VARINT: Final = 6


def read_samples(pieces: list[bytes]) -> tuple[Integers, Floats]:
    """Milliseconds and values, NaN payloads bit for bit; MalformedError for what is no sample."""
    times = np.zeros(len(pieces), dtype=np.int64)
    bits = np.zeros(len(pieces), dtype=np.uint64)
    lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    read = np.zeros(len(pieces), dtype=bool)
    for length in (VALUED, ZERO):
        places = np.flatnonzero(lengths == length)
        if not len(places):
            continue
        joined = (
            b"".join(pieces)
            if len(places) == len(pieces)
            else b"".join([pieces[place] for place in places.tolist()])
        )
        rows = np.frombuffer(joined, dtype=np.uint8).reshape(-1, length)
        fits = rows[:, -ZERO] == _TIME_KEY
        if length == VALUED:
            fits &= rows[:, 0] == _VALUE_KEY
            found = np.ascontiguousarray(rows[:, 1:9]).view("<u8").ravel()
            bits[places[fits]] = found[fits]
        fits &= (rows[:, -_VARINT:-1] >= 0x80).all(axis=1) & (rows[:, -1] < 0x80)
        times[places[fits]] = _milliseconds(rows[fits])
        read[places[fits]] = True
    values = bits.view(np.float64)
    for place in np.flatnonzero(~read).tolist():
        times[place], values[place] = _one(pieces[place])
    return times, values


def _milliseconds(rows: Bytes) -> Integers:
    total = np.zeros(len(rows), dtype=np.int64)
    for place in range(_VARINT):
        total |= (rows[:, place - _VARINT].astype(np.int64) & 0x7F) << 7 * place
    return total


def _one(piece: bytes) -> tuple[int, float]:
    try:
        sample = Sample.FromString(piece)
    except DecodeError:
        raise MalformedError("a sample is no Protobuf message: is the body truncated?") from None
    return sample.timestamp, sample.value
