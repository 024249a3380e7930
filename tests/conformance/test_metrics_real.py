"""Real CloudWatch series (Numenta Anomaly Benchmark): the hourly rollup answers their known means.

NEO_TEST_METRICS names the folder of the files; they are not part of the project.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.loaders.base import LoadOptions
from neo_polystore.loaders.jobs import plan
from neo_polystore.loaders.pipeline import LoadReport, run_jobs
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.stores.timescale.databases import MODES, make_metrics_database, opened

FOLDER = "NEO_TEST_METRICS"
MEANS = [  # of the middle hour and of the busiest one, from the raw points
    ("ec2_cpu_utilization_24ae8d", "2014-02-21 14:00", 0.1218333333),
    ("ec2_cpu_utilization_24ae8d", "2014-02-26 22:00", 0.3061666667),
    ("ec2_cpu_utilization_53ea38", "2014-02-21 14:00", 1.834166667),
    ("ec2_cpu_utilization_53ea38", "2014-02-23 21:00", 2.043),
    ("ec2_cpu_utilization_5f5533", "2014-02-21 14:00", 43.771),
    ("ec2_cpu_utilization_5f5533", "2014-02-19 00:00", 48.693025),
    ("ec2_cpu_utilization_77c1ca", "2014-04-09 14:00", 0.09483333333),
    ("ec2_cpu_utilization_77c1ca", "2014-04-11 18:00", 86.676),
    ("ec2_network_in_5abac7", "2014-03-09 23:00", 71.3),
    ("ec2_network_in_5abac7", "2014-03-10 19:00", 2714714.9),
    ("elb_request_count_8c0756", "2014-04-17 00:00", 78.41666667),
    ("elb_request_count_8c0756", "2014-04-12 17:00", 210.5),
    ("grok_asg_anomaly", "2014-01-24 01:00", 34.41191667),
    ("grok_asg_anomaly", "2014-01-23 09:00", 36.234675),
    ("iio_us-east-1_i-a2eb1cd9_NetworkIn", "2013-10-11 20:00", 6192726.317),
    ("iio_us-east-1_i-a2eb1cd9_NetworkIn", "2013-10-09 16:00", 38314327.71),
    ("rds_cpu_utilization_cc0c53", "2014-02-21 14:00", 5.956),
    ("rds_cpu_utilization_cc0c53", "2014-02-27 17:00", 15.26498333),
]

Loaded = tuple[TimescaleStore, LoadReport]


def series_files() -> list[Path]:
    return sorted(Path(os.environ[FOLDER]).rglob("*.csv"))


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=MODES)
async def loaded(request: pytest.FixtureRequest, embedded: Membership) -> AsyncIterator[Loaded]:
    if FOLDER not in os.environ:
        pytest.skip(f"{FOLDER} does not name the folder of the real series")
    files = series_files()
    options = LoadOptions(service="nab")
    async with opened(await make_metrics_database(embedded, request.param)) as store:
        jobs = plan("metrics", files, options)
        yield store, await run_jobs("metrics", jobs, options, store.port("metrics").write)


async def test_repeated_times_are_counted(loaded: Loaded) -> None:
    _, report = loaded
    assert (report.read, report.new, report.replaced, report.existing) == (34_786, 34_775, 10, 1)


async def test_the_hourly_rollup_answers_every_known_mean(loaded: Loaded) -> None:
    store, _ = loaded
    for _ in range(2):
        async with store.database.acquire("test") as connection:
            for name, hour, mean in MEANS:
                found = await connection.fetchval(
                    "SELECT avg_value FROM metrics_hourly WHERE metric_name = $1 AND bucket = $2",
                    name,
                    datetime.fromisoformat(hour).replace(tzinfo=UTC),
                )
                assert found == pytest.approx(mean, rel=5e-9)
        await store.metric_upkeep.refresh()
