"""Has the rows that points lean on in place before them: services, series, partitions of days."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Final, TypeVar

from neo_polystore.errors import PolystoreError
from neo_polystore.pgkit.database import Database
from neo_polystore.stores.timescale.identity import Identity

T = TypeVar("T")

_DAYS_AT_ONCE: Final = 50  # each new partition holds some locks until its transaction ends
_SERIES_AT_ONCE: Final = 10_000
_REMEMBERED: Final = 500_000
_ATTEMPTS: Final = 5

_SERVICES: Final = """
INSERT INTO services (service_id, name)
SELECT DISTINCT ON (1) * FROM unnest($1::uuid[], $2::text[]) ORDER BY 1
ON CONFLICT DO NOTHING
"""
_SERIES: Final = """
INSERT INTO series (series_id, service_id, metric_name, tags)
SELECT series_id, service_id, name, tags::jsonb
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[])
    AS s (series_id, service_id, name, tags)
ORDER BY 1
ON CONFLICT (series_id) DO NOTHING
"""
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()


class PartitionGoneError(PolystoreError):
    """A row found no partition: a day that we remembered was dropped, or packed."""


class Places:
    """Remembers which series and days the database has already."""

    def __init__(self, database: Database):
        self._database = database
        self._series: set[bytes] = set()
        self._days: set[int] = set()

    def forget(self) -> None:
        """Everything was removed."""
        self._days.clear()
        self._series.clear()

    async def with_days(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, a whole transaction; again where a partition was gone."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return await work()
            except PartitionGoneError:
                self._days.clear()
        return await work()

    async def have(self, identities: Iterable[Identity], days: Collection[int]) -> None:
        """Make what is missing; `days` are counted from the Unix epoch.

        Each is committed before the batch begins, so that a long batch never keeps another writer
        from making a partition.
        """
        missing = [one for one in identities if one.key not in self._series]
        if missing:
            for some in _chunks(missing, _SERIES_AT_ONCE):
                await self._add_series(some)
        if not self._days.issuperset(days):
            for days_now in _chunks(sorted(set(days) - self._days), _DAYS_AT_ONCE):
                await self._make_days(days_now)

    def gone(self, error: Exception) -> PartitionGoneError:
        """The error of a row that the table has no partition for, for `with_days`."""
        return PartitionGoneError(str(error), store=self._database.store, operation="metrics.write")

    async def _add_series(self, series: Sequence[Identity]) -> None:
        async with self._database.acquire("metrics.series") as connection:
            services = {one.service_id: one.service for one in series}
            await connection.execute(_SERVICES, list(services), list(services.values()))
            _, ids, service_ids, _, names, tags = zip(*series, strict=True)
            await connection.execute(_SERIES, ids, service_ids, names, tags)
        if len(self._series) > _REMEMBERED:
            self._series.clear()
        self._series.update(one.key for one in series)

    async def _make_days(self, days: Sequence[int]) -> None:
        # as text, because the driver takes the last day there is for infinity
        text = [date.fromordinal(_FIRST_DAY + day).isoformat() for day in days]
        async with self._database.acquire("metrics.days") as connection:
            await connection.execute("SELECT make_metric_days($1::text[]::date[])", text)
        self._days.update(days)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
