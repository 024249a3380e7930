"""The jobs that keep rollups and retention of metrics, where the engine does not do it itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.ops.background import metric_upkeeps
from neo_polystore.ops.jobs import metric_jobs
from neo_polystore.polystore import Polystore
from neo_polystore.ports.scheduling import Firing
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.stores.timescale.databases import MODES, make_metrics_database, opened

NAMES = ("metric-rollups", "metric-retention", "metric-compression")
FIRING = Firing(
    job="any",
    token=1,
    holder="test",
    scheduled_for=datetime.now(UTC),
    forced=True,
    seconds=10.0,
)


@pytest_asyncio.fixture(loop_scope="session", params=MODES)
async def store(
    request: pytest.FixtureRequest, embedded: Membership
) -> AsyncIterator[TimescaleStore]:
    config = await make_metrics_database(embedded, request.param, keep_raw="90 days")
    async with opened(config) as store:
        yield store


async def test_the_jobs_do_their_work_where_nobody_else_does(store: TimescaleStore) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(days=days) for days in (2, 30, 100)]
    await store.port("metrics").write(
        [MetricPoint(time=time, service="s", name="cpu", value=1) for time in times]
    )
    jobs = {job.name: job for job in metric_jobs(store.metric_upkeep)}
    results: list[Any] = [await jobs[name].work(FIRING) for name in NAMES]
    if (await store.health()).facts["mode"] == "timescaledb":
        assert results == [None, None, None]  # its policies do it
    else:
        compressed = {"days": 1, "points": 1, "busy": False}
        assert results == [{"hours": 3}, {"dropped": 1, "busy": False}, compressed]


def test_an_open_store_with_rollups_is_found(polystore: Polystore) -> None:
    assert len(metric_upkeeps(polystore)) == 1
