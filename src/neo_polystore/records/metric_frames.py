"""Points from data frames and iterables to columns; pandas, pyarrow and polars are never imported
before a frame of theirs is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neo_polystore.errors import UsageError
from neo_polystore.records.metric_columns import Integers, MetricColumns, Series
from neo_polystore.records.metrics import MetricPoint

BATCH: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameColumns:
    """Which column of a frame holds what. `tags` are columns whose name is the tag's key."""

    time: str = "time"
    value: str = "value"
    service: str = "service"
    name: str = "name"
    unit: str | None = None
    tags: Sequence[str] = ()


_DEFAULT: Final = FrameColumns()


def from_frame(
    frame: Any,
    columns: FrameColumns = _DEFAULT,
    *,
    service: str | None = None,
    name: str | None = None,
    unit: str | None = None,
) -> MetricColumns:
    """The points of a table: pandas, polars, pyarrow, or whatever exports an Arrow stream.

    `service`, `name` and `unit` say what all rows share; otherwise they come from their columns.
    Times without a zone are UTC; integers are microseconds since the epoch. A tag that is null in
    a row is none. Raises UsageError for a column that is missing or of another kind; a null time
    is rejected when it is written.
    """
    table = _indexable(frame)
    size = len(_column(table, columns.time))
    parts: list[tuple[list[Any], Integers]] = [
        _codes(table, columns.service, service, size),
        _codes(table, columns.name, name, size),
        _codes(table, columns.unit, unit, size),
        *(_codes(table, tag, None, size) for tag in columns.tags),
    ]
    series, numbers = _combined(parts, columns.tags)
    return MetricColumns.of(
        series,
        numbers=numbers,
        times=_times(_column(table, columns.time), columns.time),
        values=_values(_column(table, columns.value), columns.value),
    )


def in_batches(points: Iterable[MetricPoint], size: int = BATCH) -> Iterator[MetricColumns]:
    """Any number of points in columns of at most `size`, for memory that does not grow."""
    rest = iter(points)
    while some := list(islice(rest, size)):
        yield MetricColumns.from_points(some)


def _indexable(frame: Any) -> Any:
    """Something whose columns `[name]` gives and numpy takes."""
    if hasattr(frame, "__getitem__") and (hasattr(frame, "columns") or hasattr(frame, "schema")):
        return frame
    if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
        try:
            import pyarrow as pa
        except ImportError:
            raise UsageError(f"{type(frame).__name__}: reading it needs pyarrow") from None
        return pa.table(frame)
    if hasattr(frame, "__dataframe__"):
        try:
            from pyarrow.interchange import from_dataframe
        except ImportError:
            raise UsageError(f"{type(frame).__name__}: reading it needs pyarrow") from None
        return from_dataframe(frame)
    raise UsageError(f"expected a data frame or Arrow table, got {type(frame).__name__}")


def _column(table: Any, name: str) -> Any:
    try:
        return table[name]
    except Exception as error:  # each library has an error of its own for this
        raise UsageError(f"the frame has no column {name!r}") from error


def _times(column: Any, name: str) -> NDArray[Any]:
    array = np.asarray(column)
    if array.dtype.kind == "O":  # pandas: times with a zone
        try:
            return np.asarray(column, dtype="datetime64[us]")
        except (TypeError, ValueError):
            raise UsageError(f"column {name!r}: expected times") from None
    if array.dtype.kind not in "Miu":
        raise UsageError(f"column {name!r}: expected times or microseconds, got {array.dtype}")
    return array


def _values(column: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"column {name!r}: expected numbers") from None


def _codes(
    table: Any, name: str | None, constant: str | None, size: int
) -> tuple[list[Any], Integers]:
    """The different values of a column, and for each row which of them it has."""
    if constant is not None or name is None:
        return [constant], np.zeros(size, dtype=np.int64)
    column = _column(table, name)
    found: list[Any] = (column.to_pylist if hasattr(column, "to_pylist") else column.to_list)()
    known: dict[Any, int] = {}
    codes = [known.setdefault(None if one != one else one, len(known)) for one in found]
    for value in known:
        if not (value is None or isinstance(value, str)):
            raise UsageError(f"column {name!r}: expected text, got {type(value).__name__}")
    return list(known), np.array(codes, dtype=np.int64)


def _combined(
    parts: Sequence[tuple[list[Any], Integers]], tags: Sequence[str]
) -> tuple[list[Series], Integers]:
    """The series that occur, and for each row which it is of."""
    numbers = np.zeros(len(parts[0][1]), dtype=np.int64)
    combinations: list[tuple[Any, ...]] = [()]
    for values, codes in parts:
        places, numbers = np.unique(numbers * len(values) + codes, return_inverse=True)
        combinations = [
            (*combinations[place // len(values)], values[place % len(values)])
            for place in places.tolist()
        ]
    series = []
    for service, name, unit, *rest in combinations:
        if service is None or name is None:
            raise UsageError(f"a row has no {'service' if service is None else 'name'}")
        given = {key: value for key, value in zip(tags, rest, strict=True) if value is not None}
        series.append(Series(service, name, given, unit))
    return series, numbers
