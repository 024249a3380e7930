"""What is particular to ClickHouse: duplicates, shared inserts, errors, health, durability."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.embedded import Membership
from neo_polystore.embedded.overview import status
from neo_polystore.errors import ConfigError, UnavailableError
from neo_polystore.ids import uuid7
from neo_polystore.records.analytics import Fact
from neo_polystore.records.query import Query
from neo_polystore.stores.clickhouse.client import open_driver
from neo_polystore.stores.clickhouse.columns import NAMES, to_row
from neo_polystore.stores.clickhouse.config import ClickHouseConfig
from neo_polystore.stores.clickhouse.store import ClickHouseStore
from tests.stores.clickhouse.conftest import config_for

START = datetime(2020, 5, 17, tzinfo=UTC)


def facts(count: int) -> list[Fact]:
    """Facts of one type, worth 1 each, a day apart."""
    return [
        Fact(
            timestamp=START + timedelta(days=number),
            fact_type="t",
            subject=f"s{number}",
            value=Decimal(1),
        )
        for number in range(count)
    ]


async def test_rows_that_slipped_in_twice_are_read_once(store: ClickHouseStore) -> None:
    rows = [to_row(fact) for fact in facts(50)]
    driver = await asyncio.to_thread(open_driver, store.config, database=store.config.database)
    for _ in range(3):
        driver.insert("facts", rows, column_names=NAMES)
    driver.close()
    port = store.port("analytics")
    assert await port.count(Query()) == 50
    assert await port.sum(Query(), "value") == 50
    assert [group.count for group in await port.aggregate(Query())] == [50]
    assert len(await port.find(Query(limit=200))) == 50


async def test_waiting_calls_share_an_insert_and_get_their_own_counts(
    store: ClickHouseStore,
) -> None:
    one = facts(40)
    calls = [one[start : start + 2] for start in range(39)]
    answers = await asyncio.gather(*map(store.port("analytics").write, calls))
    assert sum(answer.new for answer in answers) == 40
    assert sum(answer.existing for answer in answers) == 38


async def test_two_stores_writing_the_same_facts_show_them_once(store: ClickHouseStore) -> None:
    other = ClickHouseStore(store.config)
    await other.connect()
    one = facts(200)
    for start in range(0, 200, 20):
        part = one[start : start + 20]
        await asyncio.gather(*(s.port("analytics").write(part) for s in (store, other)))
    assert await store.port("analytics").count(Query()) == 200
    await other.close()


async def test_ids_are_looked_up_however_many_there_are(store: ClickHouseStore) -> None:
    many = [Fact(timestamp=START, fact_type="many", subject="s") for _ in range(7_001)]
    assert (await store.port("analytics").write(many)).new == 7_001
    written = await store.port("analytics").write([*many, *facts(1)])
    assert (written.new, written.existing) == (1, 7_001)


async def test_no_fact_goes_by_itself_however_old(store: ClickHouseStore) -> None:
    old = Fact(timestamp=datetime(1990, 1, 1, tzinfo=UTC), fact_type="old", subject="s")
    port = store.port("analytics")
    await port.write([old])
    driver = await asyncio.to_thread(open_driver, store.config, database=store.config.database)
    loaded = Fact(timestamp=START, fact_type="loaded long ago", subject="s")
    row = (*to_row(loaded), datetime.now(UTC) - timedelta(days=3670))
    driver.insert("facts", [row], column_names=(*NAMES, "recorded_at"))
    driver.command("OPTIMIZE TABLE facts FINAL")
    driver.close()
    assert await port.count(Query()) == 2


async def test_the_witness_counts_ids_on_a_connection_of_its_own(store: ClickHouseStore) -> None:
    one = facts(2)
    await store.port("analytics").write(one)
    keys = [one[0].key, one[1].key, str(uuid7()), "no id"]
    assert await store.witness("analytics", keys) == 2


async def test_health_reports_version_rows_and_bytes(store: ClickHouseStore) -> None:
    await store.port("analytics").write(facts(3))
    health = await store.health()
    assert health.status == "healthy"
    assert health.version
    assert health.facts["rows"] == 3
    assert health.facts["bytes"] > 0


async def test_a_server_that_is_not_there_is_unavailable(config: ClickHouseConfig) -> None:
    store = ClickHouseStore(config.model_copy(update={"port": 1}))
    with pytest.raises(UnavailableError):
        await store.connect()
    assert (await store.health()).status == "unhealthy"
    with pytest.raises(UnavailableError, match="not connected"):
        await store.port("analytics").write(facts(1))
    with pytest.raises(UnavailableError):
        await store.migrate()


async def test_health_connects_where_the_start_could_not(config: ClickHouseConfig) -> None:
    store = ClickHouseStore(config)
    assert (await store.health()).status == "unhealthy"
    await store.migrate()
    assert (await store.health()).status == "healthy"
    assert (await store.port("analytics").write(facts(1))).new == 1
    await store.close()


async def test_a_wrong_password_is_a_matter_of_configuration(config: ClickHouseConfig) -> None:
    wrong = config.model_copy(update={"password": SecretStr("wrong-secret")})
    with pytest.raises(ConfigError, match="refused") as raised:
        await ClickHouseStore(wrong).connect()
    assert "wrong-secret" not in str(raised.value)


async def test_a_closed_store_says_so(store: ClickHouseStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(UnavailableError, match="not connected"):
        await store.port("analytics").count(Query())
    assert (await store.health()).status == "unhealthy"


async def test_no_proxy_of_the_environment_sees_the_password(
    config: ClickHouseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    store = ClickHouseStore(config)
    await store.migrate()
    await store.connect()
    assert (await store.health()).status == "healthy"
    await store.close()


@pytest_asyncio.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[Path, Membership]]:
    """An engine of one's own, to be killed."""
    membership = await Membership.join(tmp_path)
    yield tmp_path, membership
    await membership.leave()


async def test_acknowledged_facts_survive_a_kill_of_the_engine(
    own: tuple[Path, Membership],
) -> None:
    data_dir, membership = own
    store = ClickHouseStore(config_for(await membership.ensure("clickhouse")))
    await store.migrate()
    await store.connect()
    acknowledged: list[Fact] = []
    for _ in range(2):
        victim = (status(data_dir).servers or {})["clickhouse"].pid
        assert victim

        async def load() -> None:
            while True:
                batch = facts(20)
                await store.port("analytics").write(batch)
                acknowledged.extend(batch)

        loading = asyncio.create_task(load())
        before = len(acknowledged)
        while len(acknowledged) < before + 60:
            await asyncio.sleep(0.005)
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(UnavailableError):
            await loading
        while (status(data_dir).servers or {})["clickhouse"].pid in (victim, None):
            await asyncio.sleep(0.01)  # until then `ensure` may still answer for the killed one
        await membership.ensure("clickhouse")
        port = store.port("analytics")
        assert await store.witness("analytics", [fact.key for fact in acknowledged]) == len(
            acknowledged
        )
        again = await port.write(acknowledged[-40:])
        assert (again.new, again.existing) == (0, 40)
    await store.close()
