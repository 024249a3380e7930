"""The bytes of binary COPY, made by numpy: rows of one series differ in time and value only.

The format is that of https://www.postgresql.org/docs/current/sql-copy.html ("Binary Format").
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from itertools import chain
from typing import Final

import numpy as np

from neo_polystore.stores.timescale.prepared import Points

COLUMNS: Final = ("time", "value", "series_id", "service_id", "metric_name", "tags", "unit")
STAGED_COLUMNS: Final = ("time", "value", "series")

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)
_EPOCH: Final = 946_684_800_000_000
"""PostgreSQL's epoch, 2000-01-01, in microseconds of ours."""
_PIECE: Final = 4096
"""Rows that are encoded at a time: few enough that the server never waits for them."""

_BEGINNING: Final = np.dtype(
    [("fields", ">i2"), ("l1", ">i4"), ("time", ">i8"), ("l2", ">i4"), ("value", ">u8")]
)
_STAGED: Final = np.dtype([*_BEGINNING.descr, ("l3", ">i4"), ("series", ">i4")])


async def rows(points: Points, endings: Sequence[bytes]) -> AsyncIterator[bytes]:
    """The points as rows of `metrics`; `endings` are the other fields of each series."""
    yield _HEADER
    for start in range(0, len(points.times), _PIECE):
        piece = points.part(slice(start, start + _PIECE))
        beginnings = _filled(_BEGINNING, piece, len(COLUMNS)).view(f"V{_BEGINNING.itemsize}")
        others = map(endings.__getitem__, piece.numbers.tolist())
        yield b"".join(chain.from_iterable(zip(beginnings.tolist(), others, strict=True)))
    yield _TRAILER


async def staged_rows(points: Points) -> AsyncIterator[bytes]:
    """The points as rows of time, value and number of the series."""
    yield _HEADER
    for start in range(0, len(points.times), _PIECE):
        piece = points.part(slice(start, start + _PIECE))
        staged = _filled(_STAGED, piece, len(STAGED_COLUMNS))
        staged["l3"] = 4
        staged["series"] = piece.numbers
        yield staged.tobytes()
    yield _TRAILER


def _filled(
    form: np.dtype[np.void], points: Points, fields: int
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    filled = np.zeros(len(points.times), dtype=form)
    filled["fields"] = fields
    filled["l1"] = filled["l2"] = 8
    filled["time"] = points.times - _EPOCH
    filled["value"] = points.values.view(np.uint64)  # as bits: no payload of a NaN is lost
    return filled
