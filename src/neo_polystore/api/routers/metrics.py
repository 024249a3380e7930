"""Metrics over HTTP: statistics per step, the series there are, and their raw points."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.records.metric_answer import number_json
from neo_polystore.records.metric_query import (
    Fill,
    Group,
    MetricQuery,
    PointsQuery,
    SeriesQuery,
    Source,
    read_step,
    read_tags,
)
from neo_polystore.records.query import MAX_LIMIT, parse_time

router = APIRouter(prefix="/api/metrics", tags=["metrics"])

_PROBLEM: dict[str, Any] = {"model": Problem}
_REFUSED: dict[int | str, dict[str, Any]] = {
    400: {**_PROBLEM, "description": "A query that makes no sense, or asks for too much."},
    422: {**_PROBLEM, "description": "A parameter that is missing, unknown or of no such kind."},
    503: {**_PROBLEM, "description": "The store cannot be reached."},
}
_TAG: Any = Field([], description="`key=value`; of several, all must be there")


class _Range(BaseModel):
    model_config = ConfigDict(extra="forbid")

    service: str = Field(min_length=1, description="the service measured", examples=["web"])
    since: str = Field("24h", description="ISO 8601 time, or an age such as `24h`")
    until: str | None = Field(None, description="ISO 8601 time or age, exclusive; now if not given")
    tag: list[str] = _TAG

    def times(self) -> tuple[datetime, datetime]:
        """The range; UsageError for what is no time."""
        now = datetime.now(UTC)
        until = parse_time(self.until, now=now) if self.until else now
        return parse_time(self.since, now=now), until


class QueryParameters(_Range):
    """The query string of a query; see `records.metric_query`."""

    name: list[str] = Field([], description="metrics by name; all if not given")
    step: str | None = Field(
        None, description="length of a bucket, such as `5m`, `1h`, `1d`; none: one value per line"
    )
    aggregate: list[str] = Field(
        ["avg"], description="`avg` `min` `max` `sum` `count` `last` `p50`..`p99` `percentile(x)`"
    )
    group: Group = Field("series", description="one line per series, or per name over all of its")
    fill: Fill = Field("skip", description="what buckets without a value get")
    source: Source = Field("auto", description="`auto` takes the coarsest that is exact")
    limit: int = Field(1000, ge=1, le=MAX_LIMIT, description="the most lines")

    def query(self) -> MetricQuery:
        """The typed query; UsageError for what cannot be read."""
        since, until = self.times()
        return MetricQuery(
            service=self.service,
            since=since,
            until=until,
            names=tuple(self.name),
            tags=read_tags(self.tag),
            step=read_step(self.step) if self.step else None,
            aggregates=tuple(name for text in self.aggregate for name in text.split(",")),
            group=self.group,
            fill=self.fill,
            source=self.source,
            limit=self.limit,
        )


class SeriesParameters(BaseModel):
    """The query string of a list of series."""

    model_config = ConfigDict(extra="forbid")

    service: str | None = Field(None, min_length=1)
    name: str | None = Field(None, min_length=1)
    tag: list[str] = _TAG
    limit: int = Field(100, ge=1, le=MAX_LIMIT)
    after: str | None = Field(None, description="`next` of the page before")


class PointsParameters(_Range):
    """The query string of a list of points."""

    name: str = Field(min_length=1, description="the metric")
    limit: int = Field(1000, ge=1, le=MAX_LIMIT)
    after: str | None = Field(None, description="`next` of the page before")


_LINE = {"name": "latency", "tags": {"host": "a"}}
_ANSWER = {
    "source": "hourly",
    "reason": "every bucket consists of whole hours in UTC",
    "since": "2026-01-05T12:00:00+00:00",
    "until": "2026-01-05T13:00:00+00:00",
    "step": 3600.0,
    "open": False,
    "more": False,
    "note": None,
    "series": [{**_LINE, "times": ["2026-01-05T12:00:00+00:00"], "values": {"avg": [0.25]}}],
}
_POINT = {"time": "2026-01-05T12:00:00+00:00", "value": 0.25, "tags": {"host": "a"}, "unit": "s"}


def _responses(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    found = {"description": "Found.", "content": {"application/json": {"example": example}}}
    return {200: found, **_REFUSED}


@router.get("/query", summary="Statistics per step", responses=_responses(_ANSWER))
async def query(
    parameters: Annotated[QueryParameters, Query()], polystore: CurrentPolystore
) -> Response:
    """Statistics of a service's series, in whole buckets aligned to UTC.

    `source` says what answered (`raw`, `hourly` or `daily`) and `reason` why; `since`, `until`
    and `step` are those of the answer: a range is widened to whole buckets. `open` is true while
    points of the range may still arrive. What nobody has written is no error: `series` is empty
    and `note` says why.
    """
    body = await polystore.metrics.query_json(parameters.query())
    return Response(body, media_type="application/json")


@router.get(
    "/series",
    summary="The series there are",
    responses=_responses({"series": [{"service": "web", **_LINE}], "next": None}),
)
async def series(
    parameters: Annotated[SeriesParameters, Query()], polystore: CurrentPolystore
) -> Response:
    """Series by service, name and tags, in pages."""
    wanted = SeriesQuery(
        service=parameters.service,
        name=parameters.name,
        tags=read_tags(parameters.tag),
        limit=parameters.limit,
        after=parameters.after,
    )
    page = await polystore.metrics.series(wanted)
    found = [{"service": one.service, "name": one.name, "tags": one.tags} for one in page]
    return json_response({"series": found, "next": page.next})


@router.get(
    "/points",
    summary="Raw points of a metric",
    responses=_responses({"points": [_POINT], "next": None}),
)
async def points(
    parameters: Annotated[PointsParameters, Query()], polystore: CurrentPolystore
) -> Response:
    """Points in order of time, in pages that stay right while others write.

    Values that are no JSON numbers are texts: `NaN`, `Infinity`, `-Infinity`.
    """
    since, until = parameters.times()
    wanted = PointsQuery(
        service=parameters.service,
        name=parameters.name,
        since=since,
        until=until,
        tags=read_tags(parameters.tag),
        limit=parameters.limit,
        after=parameters.after,
    )
    page = await polystore.metrics.points(wanted)
    found = [
        {
            "time": point.time,
            "value": number_json(point.value),
            "tags": point.tags,
            "unit": point.unit,
        }
        for point in page
    ]
    return json_response({"points": found, "next": page.next})
