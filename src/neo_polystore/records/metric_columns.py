"""Metric points as columns: numpy arrays in place of one object per point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_polystore.errors import UsageError
from neo_polystore.records.metrics import MetricPoint

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Series(NamedTuple):
    """What the points of one series share. `unit` is no part of its identity."""

    service: str
    name: str
    tags: Mapping[str, str] = {}
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class MetricColumns:
    """Points in parallel arrays: point i is `values[i]` of `series[numbers[i]]` at `times[i]`.

    `times` are whole microseconds since the Unix epoch. `values` are stored bit for bit, NaN
    payloads included. A series may be named more than once. Raises UsageError where the arrays
    are not of one length or a number names no series.
    """

    series: Sequence[Series]
    numbers: Integers
    times: Integers
    values: Floats

    def __post_init__(self) -> None:
        if not len(self.numbers) == len(self.times) == len(self.values):
            raise UsageError(
                f"columns of different lengths: {len(self.numbers)} numbers,"
                f" {len(self.times)} times, {len(self.values)} values"
            )
        if len(self) and not 0 <= self.numbers.min() <= self.numbers.max() < len(self.series):
            raise UsageError(f"a number names none of the {len(self.series)} series")

    def __len__(self) -> int:
        """How many points there are."""
        return len(self.times)

    @classmethod
    def of(
        cls, series: Sequence[Series], *, numbers: Any, times: Any, values: Any
    ) -> MetricColumns:
        """The same from anything that numpy takes for an array; `times` may be datetime64."""
        return cls(
            series,
            np.ascontiguousarray(numbers, dtype=np.int64),
            microseconds(times),
            np.ascontiguousarray(values, dtype=np.float64),
        )

    @classmethod
    def from_points(cls, points: Iterable[MetricPoint]) -> MetricColumns:
        """The columns of records."""
        series: list[Series] = []
        known: dict[tuple[object, ...], int] = {}
        numbers, times, values = [], [], []
        for point in points:
            identity = (point.service, point.name, point.unit, *point.tags.items())
            number = known.get(identity)
            if number is None:
                number = known[identity] = len(series)
                series.append(Series(point.service, point.name, point.tags, point.unit))
            numbers.append(number)
            times.append((point.time - EPOCH) // _MICROSECOND)
            values.append(point.value)
        return cls.of(series, numbers=numbers, times=times, values=values)


def microseconds(times: Any) -> Integers:
    """Times as microseconds since the epoch: datetime64 of any unit (UTC), or integers as they are.

    Raises UsageError for anything else: a float could not hold every microsecond.
    """
    array = np.asarray(times)
    if array.dtype.kind == "M":
        return array.astype("datetime64[us]").astype(np.int64)
    if array.dtype.kind not in "iu" and array.size:
        raise UsageError(
            f"times: expected integers of microseconds or datetime64, got {array.dtype}"
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def problem_of(series: Series) -> tuple[str, str] | None:
    """The field that makes a series unfit to be stored, and the reason; None for a good one."""
    for field, text, most in (
        ("service", series.service, 255),
        ("name", series.name, 255),
        ("unit", series.unit, 50),
    ):
        if text is not None and (reason := _wrong(text, most)):
            return field, reason
    for key, value in series.tags.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            return "tags", f"{key!r}: expected text, got {type(value).__name__}"
        if reason := _wrong(key, None) or _wrong(value, None):
            return "tags", reason
    return None


def _wrong(text: str, most: int | None) -> str | None:
    if most is not None and not 1 <= len(text) <= most:
        return f"expected 1 to {most} characters, got {len(text)}"
    if "\x00" in text:
        return "contains a NUL character, which no store can hold"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "contains half of a surrogate pair, which is no Unicode text"
    return None
