"""Metric points: one value of one series at one time."""

from __future__ import annotations

from typing import Annotated, ClassVar
from uuid import UUID

import orjson
from pydantic import Field

from neo_polystore.ids import derived_uuid
from neo_polystore.records.base import Record, Text50, Text255, Utc


def service_id(service: str) -> UUID:
    """The id under which a service's metrics are stored; the same name gives the same id."""
    return derived_uuid("service", service)


def series_id(service: str, name: str, tags: dict[str, str]) -> UUID:
    """Identity of a series: service, metric name and all tags (in any order)."""
    canonical = orjson.dumps(tags, option=orjson.OPT_SORT_KEYS).decode()
    return derived_uuid("series", service, name, canonical)


class MetricPoint(Record):
    """A series is (service, name, tags). A second value for a series and time replaces the first.

    `value` is a 64-bit float; NaN and infinities are kept as they are.
    """

    data_type: ClassVar[str] = "metrics"
    time_field: ClassVar[str | None] = "time"

    time: Utc
    service: Text255
    name: Text255
    value: Annotated[float, Field(allow_inf_nan=True)]
    tags: dict[str, str] = {}
    unit: Text50 | None = None

    @property
    def series(self) -> UUID:
        """The id of the series this point belongs to."""
        return series_id(self.service, self.name, self.tags)

    @property
    def key(self) -> str:
        """`{series id}:{time in ISO 8601}`."""
        return f"{self.series}:{self.time.isoformat()}"
