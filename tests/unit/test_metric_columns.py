"""Columns of points: from records, frames of every library, and what makes no sense."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from neo_polystore.errors import UsageError
from neo_polystore.records.metric_columns import MetricColumns, Series, microseconds, problem_of
from neo_polystore.records.metric_frames import FrameColumns, from_frame, in_batches
from neo_polystore.records.metrics import MetricPoint

START = datetime(2026, 3, 29, 1, tzinfo=UTC)
MICROSECONDS = 1_774_746_000_000_000
DATA: dict[str, list[Any]] = {
    "time": [START + timedelta(minutes=n) for n in range(4)],
    "value": [0.5, 1.5, 2.5, 3.5],
    "service": ["a", "b", "a", "b"],
    "name": ["x", "x", "y", "x"],
    "host": ["n1", None, "n1", "n2"],
}


def frame_of(library: str) -> Any:
    module = pytest.importorskip(library)
    if library == "pyarrow":
        return module.table(DATA)
    return module.DataFrame(DATA)


class OnlyStream:
    """Exports Arrow and nothing else."""

    def __init__(self, table: Any):
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class OnlyInterchange:
    """Speaks the data frame interchange protocol and nothing else."""

    def __init__(self, table: Any):
        self._table = table

    def __dataframe__(self, **options: Any) -> object:
        return self._table.__dataframe__(**options)


def points_of(columns: MetricColumns) -> list[tuple[object, ...]]:
    return [
        (columns.series[number], time, value)
        for number, time, value in zip(
            columns.numbers.tolist(), columns.times.tolist(), columns.values.tolist(), strict=True
        )
    ]


EXPECTED = [
    (Series("a", "x", {"host": "n1"}), MICROSECONDS, 0.5),
    (Series("b", "x", {}), MICROSECONDS + 60_000_000, 1.5),
    (Series("a", "y", {"host": "n1"}), MICROSECONDS + 120_000_000, 2.5),
    (Series("b", "x", {"host": "n2"}), MICROSECONDS + 180_000_000, 3.5),
]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_frame_becomes_columns(library: str) -> None:
    columns = from_frame(frame_of(library), FrameColumns(tags=["host"]))
    assert points_of(columns) == EXPECTED


@pytest.mark.parametrize("wrapper", [OnlyStream, OnlyInterchange])
def test_whatever_exports_its_data_becomes_columns(wrapper: Any) -> None:
    columns = from_frame(wrapper(frame_of("pyarrow")), FrameColumns(tags=["host"]))
    assert points_of(columns) == EXPECTED


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_times_without_a_zone_are_utc(library: str) -> None:
    module = pytest.importorskip(library)
    data = {"at": [START.replace(tzinfo=None)], "value": [1]}
    frame = module.table(data) if library == "pyarrow" else module.DataFrame(data)
    columns = from_frame(frame, FrameColumns(time="at"), service="s", name="m", unit="percent")
    assert points_of(columns) == [(Series("s", "m", {}, "percent"), MICROSECONDS, 1.0)]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    ("columns", "word"),
    [
        (FrameColumns(time="when"), "'when'"),
        (FrameColumns(tags=["value"]), "expected text"),
        (FrameColumns(time="host"), "'host'"),
        (FrameColumns(value="host"), "expected numbers"),
        (FrameColumns(service="host"), "no service"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_column_that_does_not_fit_is_named(
    library: str, columns: FrameColumns, word: str
) -> None:
    with pytest.raises(UsageError, match=word):
        from_frame(frame_of(library), columns)


def test_what_is_no_frame_is_refused() -> None:
    with pytest.raises(UsageError, match="list"):
        from_frame([1, 2])


def test_records_become_columns_in_batches() -> None:
    points = (
        MetricPoint(time=START + timedelta(seconds=n), service="s", name="m", value=n)
        for n in range(25)
    )
    batches = list(in_batches(points, 10))
    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert batches[2].times.tolist()[-1] == MICROSECONDS + 24_000_000


def test_microseconds_of_other_units_and_centuries() -> None:
    times = np.array(["1969-12-31T23:59:59.999999", "2262-04-12"], dtype="datetime64[us]")
    assert microseconds(times).tolist() == [-1, 9_223_372_800_000_000]
    assert microseconds(np.array([1], dtype="datetime64[s]")).tolist() == [1_000_000]
    with pytest.raises(UsageError, match="float64"):
        microseconds([0.5])


@pytest.mark.parametrize(
    ("numbers", "times", "values"), [([0], [1, 2], [1.0]), ([1], [1], [1.0]), ([-1], [1], [1.0])]
)
def test_columns_that_do_not_fit_together_are_refused(
    numbers: list[int], times: list[int], values: list[float]
) -> None:
    with pytest.raises(UsageError):
        MetricColumns.of([Series("s", "m")], numbers=numbers, times=times, values=values)


@pytest.mark.parametrize(
    ("series", "field"),
    [
        (Series("", "m"), "service"),
        (Series("s", "m" * 256), "name"),
        (Series("s", "m", {}, "u" * 51), "unit"),
        (Series("s", "m", {"a": "\x00"}), "tags"),
        (Series("s", "m", {"a": "\ud800"}), "tags"),
        (Series("s", "m", {"a": 1}), "tags"),  # type: ignore[dict-item]
    ],
)
def test_a_series_that_cannot_be_stored_has_a_problem(series: Series, field: str) -> None:
    problem = problem_of(series)
    assert problem is not None
    assert problem[0] == field


def test_the_libraries_of_frames_are_not_imported() -> None:
    source = importlib.import_module("neo_polystore.records.metric_frames")
    assert not {"pandas", "polars", "pyarrow"} & vars(source).keys()
