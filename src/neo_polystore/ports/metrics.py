"""Metrics: batches in; statistics, series and raw points out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.metric_answer import MetricAnswer, MetricSeries
from neo_polystore.records.metric_query import MetricQuery, PointsQuery, SeriesQuery
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.results import Page, Written

if TYPE_CHECKING:  # NumPy takes a tenth of a second, which every command would pay
    from neo_polystore.records.metric_columns import MetricColumns


class Metrics(Records[MetricPoint], Protocol):
    """Points by series and time; the last value of a series and time stands."""

    async def write_columns(self, columns: MetricColumns) -> Written:
        """What `write` does, for points in columns; one transaction, whatever their number.

        A rejection names the index of the point. Points of a series that cannot be stored are
        rejected one by one, each with the series' problem.
        """

    async def query(self, query: MetricQuery) -> MetricAnswer:
        """Statistics per step, from the coarsest source that answers exactly; it says which.

        `auto` takes daily or hourly values where every bucket consists of whole days or hours
        (without a step: where the range does) and they know the aggregates, otherwise raw points.
        Where retention has dropped these in a part of the range, the next coarser source answers
        all of it, in steps and a range of its own units; sources are never mixed in one answer.
        All of them include what was written a moment ago. NaN is in no statistic.

        What nobody has written is no error: no lines, and a note why. Raises UsageError for a
        query that makes no sense, for more than 100,000 buckets, and where the source that
        would have to answer does not know an aggregate.
        """

    async def query_json(self, query: MetricQuery) -> bytes:
        """What `query` answers, in its JSON form: a cache has that ready."""

    async def series(self, query: SeriesQuery) -> Page[MetricSeries]:
        """The series there are or were, in order of service and name. A page has a cursor."""

    async def points(self, query: PointsQuery) -> Page[MetricPoint]:
        """The raw points of one metric, in order of time. Pages stay right while others write."""
