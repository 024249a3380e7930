"""Sorts out a batch of columns: what is rejected, what comes once, what comes several times."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from neo_polystore.records.metric_columns import (
    EPOCH,
    Floats,
    Integers,
    MetricColumns,
    Series,
    problem_of,
)
from neo_polystore.records.results import Rejection
from neo_polystore.stores.timescale.identity import Identity, identity_of

_MICROSECOND: Final = timedelta(microseconds=1)
FIRST: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
LAST: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
DAY: Final = 86_400_000_000
"""Microseconds."""


class Points(NamedTuple):
    """Points by day (UTC), id of their series, and time; `numbers` are those of the columns."""

    numbers: Integers
    times: Integers
    values: Floats

    def part(self, selection: slice | NDArray[np.bool_] | Integers) -> Points:
        """Some of them, in the same order."""
        return Points(self.numbers[selection], self.times[selection], self.values[selection])


@dataclass
class Prepared:
    """What is to be stored: every series and time once.

    `single` came once in the batch. `last` came several times; `earlier` says of each how many
    points before it had another value or unit. `identities` are None for series that are rejected.
    """

    series: list[Series]
    identities: list[Identity | None]
    single: Points
    last: Points
    earlier: Integers
    rejected: list[Rejection] = field(default_factory=list)

    def count(self) -> int:
        """How many rows there are."""
        return len(self.single.times) + len(self.last.times)

    def used(self) -> list[Identity]:
        """The identities that have points to store, each once, by id."""
        numbers = np.unique(np.concatenate((self.single.numbers, self.last.numbers)))
        found = (self.identities[number] for number in numbers.tolist())
        return sorted({one.key: one for one in found if one is not None}.values())

    def days(self) -> list[int]:
        """The days that have points to store, counted from the epoch."""
        days: list[int] = np.unique(
            np.concatenate((self.single.times, self.last.times)) // DAY
        ).tolist()
        return days


def prepare(columns: MetricColumns) -> Prepared:
    """Sort out a batch; the last value of a series and time stands."""
    identities, problems = _identities(columns)
    ranks, count = _ranks(identities)
    rank = ranks[columns.numbers]
    good = (rank >= 0) & (columns.times > FIRST) & (columns.times < LAST)
    points = Points(columns.numbers, columns.times, columns.values)
    rejected = []
    if not good.all():
        rejected = _rejections(columns, problems, good)
        points, rank = points.part(good), rank[good]
    points, place = _in_order(points, rank, count)
    prepared = Prepared(
        list(columns.series), identities, points, points.part(slice(0)), np.zeros(0, np.int64)
    )
    prepared.rejected = rejected
    if len(place) > 1:
        _set_repeated_apart(prepared, place)
    return prepared


def _identities(
    columns: MetricColumns,
) -> tuple[list[Identity | None], dict[int, tuple[str, str]]]:
    identities: list[Identity | None] = []
    problems: dict[int, tuple[str, str]] = {}
    for number, series in enumerate(columns.series):
        problem = problem_of(series)
        identity = None
        if problem is None:
            try:
                identity = identity_of(series.service, series.name, series.tags)
            except ValueError as error:
                problem = "tags", str(error)
        if problem is not None:
            problems[number] = problem
        identities.append(identity)
    return identities, problems


def _ranks(identities: list[Identity | None]) -> tuple[Integers, int]:
    """Of each series its place among the ids, -1 for none; and how many ids there are."""
    keys = sorted({identity.key for identity in identities if identity is not None})
    places = dict(zip(keys, range(len(keys)), strict=True))
    ranks = [-1 if identity is None else places[identity.key] for identity in identities]
    return np.array(ranks, dtype=np.int64), len(keys)


def _rejections(
    columns: MetricColumns, problems: dict[int, tuple[str, str]], good: NDArray[np.bool_]
) -> list[Rejection]:
    time = "time", "stands outside of the years 1 to 9999, or for infinity in PostgreSQL"
    bad = np.flatnonzero(~good)
    return [
        Rejection(index, *problems.get(number, time))
        for index, number in zip(bad.tolist(), columns.numbers[bad].tolist(), strict=True)
    ]


def _in_order(points: Points, rank: Integers, count: int) -> tuple[Points, Integers]:
    """The points in order, stable, and for each its day and series as one number."""
    day = points.times // DAY
    place = (day - day.min(initial=LAST)) * count + rank
    steps = np.diff(place)
    if not bool(((steps > 0) | ((steps == 0) & (np.diff(points.times) >= 0))).all()):
        order = np.lexsort((points.times, place))
        points, place = points.part(order), place[order]
    return points, place


def _set_repeated_apart(prepared: Prepared, place: Integers) -> None:
    points = prepared.single
    is_first = np.ones(len(place), dtype=bool)
    is_first[1:] = (place[1:] != place[:-1]) | (points.times[1:] != points.times[:-1])
    if is_first.all():
        return
    is_last = np.append(is_first[1:], True)
    group = np.cumsum(is_first) - 1
    standing = points.part(is_last)
    differs = _differ(prepared.series, points, standing.part(group))
    earlier = np.bincount(group[differs], minlength=len(standing.times))
    is_single = is_first[is_last]
    prepared.single, prepared.last = standing.part(is_single), standing.part(~is_single)
    prepared.earlier = earlier[~is_single].astype(np.int64)


def _differ(series: list[Series], one: Points, other: Points) -> NDArray[np.bool_]:
    """Where value or unit differ as PostgreSQL compares: NaN equals NaN."""
    codes: dict[str | None, int] = {}
    units = np.array([codes.setdefault(item.unit, len(codes)) for item in series])
    both_nan = np.isnan(one.values) & np.isnan(other.values)
    differ: NDArray[np.bool_] = ((one.values != other.values) & ~both_nan) | (
        units[one.numbers] != units[other.numbers]
    )
    return differ
