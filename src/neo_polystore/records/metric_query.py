"""What can be asked of metrics: which series, which times, which statistics of which buckets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, get_args

import orjson

from neo_polystore.errors import UsageError
from neo_polystore.records.metric_aggregates import read_aggregates
from neo_polystore.records.query import MAX_LIMIT

Resolution = Literal["raw", "hourly", "daily"]
Source = Literal["auto", "raw", "hourly", "daily"]
Group = Literal["series", "name"]
Fill = Literal["skip", "null", "previous", "zero"]

MAX_BUCKETS: Final = 100_000
"""The most buckets that one query answers, over all of its series."""

LATENESS: Final = timedelta(hours=1)
"""How long after its time a point usually arrives at the latest; later ones are late data."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_STEP = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """Statistics of one service's series over [since, until).

    `names` are the metrics, all where there are none; `tags` restricts to series that carry all
    of them. `step` is the length of a bucket, None for one value per line over exactly the range.
    Buckets are aligned to the Unix epoch (so hours and days are those of UTC) and always whole:
    with a step, `since` is taken back to the beginning of its bucket and `until` on to the end of
    its own, and the answer says so. No bucket is ever a part of what it claims to be.

    `aggregates`: see `metric_aggregates`. `group`: one line per series, or one per name, over all
    of its series. `fill`: buckets without a value are left out (`skip`), or there with null, with
    the value before (null where there is none in the range) or with zero; only up to now.
    `source`: `auto` takes the coarsest that is exact. `limit` is the most lines.
    """

    service: str
    since: datetime
    until: datetime
    names: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    step: timedelta | None = None
    aggregates: tuple[str, ...] = ("avg",)
    group: Group = "series"
    fill: Fill = "skip"
    source: Source = "auto"
    limit: int = 1000

    def normal(self) -> MetricQuery:
        """The one form of all queries with this answer; UsageError for one that makes no sense."""
        check_times(self.since, self.until)
        _check_choices(self)
        _check_limit(self.limit)
        since, until = self.since.astimezone(UTC), self.until.astimezone(UTC)
        if self.step is not None:
            since, until = whole_buckets(since, until, self.step)
        elif self.fill != "skip":
            raise UsageError(f"fill {self.fill!r} needs a step")
        return replace(
            self,
            since=since,
            until=until,
            names=tuple(sorted(set(self.names))),
            tags=dict(sorted(self.tags.items())),
            aggregates=read_aggregates(self.aggregates),
        )

    def canonical(self) -> bytes:
        """The normal form as text: equal for queries that have the same answer."""
        values: dict[str, Any] = asdict(self)
        if self.step is not None:
            values["step"] = self.step / timedelta(microseconds=1)
        return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)


def check_times(since: datetime, until: datetime) -> None:
    """Raise UsageError unless both have a zone and the first is before the second."""
    for name, time in (("since", since), ("until", until)):
        if time.tzinfo is None:
            raise UsageError(f"{name} needs a time zone, got {time.isoformat()}")
    if since >= until:
        raise UsageError(
            f"since must be before until, got {since.isoformat()} and {until.isoformat()}"
        )


def is_open(until: datetime, *, now: datetime) -> bool:
    """Whether a range that ends there still has to expect points."""
    return until > now - LATENESS


def whole_buckets(since: datetime, until: datetime, step: timedelta) -> tuple[datetime, datetime]:
    """The range of the buckets that overlap [since, until); UsageError where they are too many."""
    if step <= timedelta(0):
        raise UsageError(f"step must be positive, got {step}")
    first, last = (since - EPOCH) // step, -((EPOCH - until) // step)
    if last - first > MAX_BUCKETS:
        raise UsageError(
            f"a step of {step} gives {last - first:,} buckets, at most {MAX_BUCKETS:,} are"
            " answered: take a longer step or a shorter range"
        )
    try:
        return EPOCH + first * step, EPOCH + last * step
    except OverflowError:
        raise UsageError(
            f"a step of {step} reaches from this range to beyond the years 1 to 9999"
        ) from None


def read_step(text: str) -> timedelta:
    """A step such as `30s`, `5m`, `1h`, `1d`, or seconds; UsageError for anything else."""
    match = _STEP.fullmatch(text.strip())
    try:
        seconds = float(match[1]) * _UNITS[match[2]] if match else float(text)
        if not math.isfinite(seconds):
            raise ValueError
        return timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise UsageError(
            f"cannot read step {text[:40]!r}: expected a length such as 30s, 5m, 1h, 1d"
        ) from None


def read_tags(texts: Iterable[str]) -> dict[str, str]:
    """Tags from `key=value`, one each; UsageError for another form or a key that comes twice."""
    tags: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"cannot read tag {text[:80]!r}: expected key=value")
        if tags.setdefault(key, value) != value:
            raise UsageError(f"tag {key[:80]!r} cannot have two values")
    return tags


def _check_choices(query: MetricQuery) -> None:
    _check_texts(query.service, query.names, query.tags)
    choices = (("group", query.group, Group), ("fill", query.fill, Fill))
    for name, value, allowed in (*choices, ("source", query.source, Source)):
        if value not in get_args(allowed):
            raise UsageError(f"{name} must be one of {', '.join(get_args(allowed))}, got {value!r}")


def _check_texts(service: str, names: tuple[str, ...], tags: Mapping[str, str]) -> None:
    """Raise UsageError for text that no store can hold, and for nothing where a name belongs."""
    texts = [("service", service), *(("name", name) for name in names)]
    if empty := [name for name, text in texts if not text]:
        raise UsageError(f"{empty[0]} must not be empty")
    texts += [("tag", text) for pair in tags.items() for text in pair]
    for name, text in texts:
        if "\x00" in text or text.encode(errors="replace").decode() != text:
            raise UsageError(f"{name} {text[:80]!r} is no text that a series could have")


def _check_limit(limit: int) -> None:
    if not 0 < limit <= MAX_LIMIT:
        raise UsageError(f"limit must be between 1 and {MAX_LIMIT}, got {limit}")


@dataclass(frozen=True, slots=True)
class SeriesQuery:
    """Series of a service and name that carry all of the tags; None stands for any."""

    service: str | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    limit: int = 100
    after: str | None = None

    def check(self) -> None:
        """Raise UsageError for what no series could have."""
        names = () if self.name is None else (self.name,)
        _check_texts(self.service or "any", names, self.tags)
        _check_limit(self.limit)


@dataclass(frozen=True, slots=True)
class PointsQuery:
    """Raw points of one metric of a service in [since, until), as far as they carry all tags."""

    service: str
    name: str
    since: datetime
    until: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    limit: int = 1000
    after: str | None = None

    def normal(self) -> MetricQuery:
        """The same selection as a query in normal form; UsageError where it makes no sense."""
        _check_limit(self.limit)
        return MetricQuery(
            self.service, self.since, self.until, names=(self.name,), tags=self.tags
        ).normal()
