"""What moves the metrics of the relational core, the outbox and the scheduler; and their list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.activity import MOST_NAMES
from neo_polystore.backup.runs import Newest
from neo_polystore.errors import (
    ConflictError,
    NotFoundError,
    PolystoreError,
    UnavailableError,
)
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.ops.background import BackgroundWork, background_work
from neo_polystore.ops.health import check_health
from neo_polystore.ops.telemetry.exposition import Telemetry
from neo_polystore.ops.telemetry.families import FAMILIES, QUERIES, Page
from neo_polystore.ops.telemetry.http import HttpCounts
from neo_polystore.polystore import Polystore
from neo_polystore.ports.relational import UnitOfWork
from neo_polystore.records.networks import Network
from neo_polystore.stores.postgres.store import PostgresStore
from tests.telemetry import OPENMETRICS, Scraped
from tools.telemetry import PAGE, with_table


class Watched:
    """A facade's telemetry, and its page when it was last looked at."""

    def __init__(self, telemetry: Telemetry, work: BackgroundWork):
        self.telemetry = telemetry
        self.work = work
        self.last = Scraped("", "")

    async def look(self, accept: str = "") -> Scraped:
        page, content_type = await self.telemetry.page(accept)
        self.last = Scraped(page.decode(), content_type)
        return self.last

    async def until_more(self, name: str, **labels: str) -> float:
        """By how much a value has risen since the last look, once it has."""
        before = self.last.value(name, **labels)
        async with asyncio.timeout(30):
            while (await self.look()).value(name, **labels) <= before:
                await asyncio.sleep(0.02)
        return self.last.value(name, **labels) - before

    async def until(self, right: Callable[[float], bool], name: str, **labels: str) -> None:
        """Look until the value is right: the relay counts a moment before the store knows."""
        async with asyncio.timeout(30):
            while not right((await self.look()).value(name, **labels)):
                await asyncio.sleep(0.02)


async def missing(facade: Polystore, number: int) -> None:
    """Ask for a transaction that is not there."""
    with pytest.raises(NotFoundError):
        await facade.transactions.get(f"1:0x{number:064x}")


async def be_refused(postgres: PostgresStore) -> None:
    """Have the server refuse a statement: there is no such savepoint."""
    with pytest.raises(PolystoreError, match="does not exist"):
        async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as unit:
            await unit.rollback_to("nowhere")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def facade(postgres: PostgresStore, polystore: Polystore) -> Polystore:
    """The relational store on a database of its own, without what stands before it."""
    names = ("networks", "wallets", "transactions")
    return Polystore(
        routing=polystore.routing,
        stores={"postgres": postgres},
        ports={name: postgres.port(name) for name in names},
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def watched(facade: Polystore) -> AsyncIterator[Watched]:
    """Its metrics, with relay and scheduler at work; every page asks the database anew."""
    async with background_work(facade) as work:
        telemetry = Telemetry(facade, work=work, fresh=0, patience=10)
        yield Watched(telemetry, work)
        await telemetry.close()


def network() -> Network:
    """A network that no other test has."""
    name = f"chain {uuid4()}"
    return Network(chain_id=uuid4().int >> 70, name=name, rpc_endpoint="https://r.example.org")


async def test_a_named_operation_is_counted_with_its_retries(
    postgres: PostgresStore, watched: Watched
) -> None:
    record = network()
    await postgres.port("networks").write([record])
    before = await watched.look()

    attempts = 0

    async def rename(unit: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        networks = unit.repository(Network)
        read = await networks.get(record.key)
        if attempts == 1:  # somebody else is faster
            await postgres.port("networks").write([record.model_copy(update={"is_testnet": True})])
        await networks.update(read.model_copy(update={"is_active": False}))

    name = f"test.rename_{uuid4().hex[:8]}"
    await postgres.execute_in_transaction(name, rename, isolation="repeatable_read")
    after = await watched.look()

    operation = {"store": "postgres", "operation": name}
    duration = "neo_db_transaction_duration_seconds_count"
    assert attempts == 2
    assert after.value("neo_db_operations_total", **operation, outcome="committed") == 1
    assert after.value("neo_db_operation_retries_total", **operation) == 1
    assert after.value(duration, **operation, outcome="committed") == 1
    assert after.value(duration, **operation, outcome="failed") == 1
    retries = {"store": "postgres", "reason": "serialization"}
    assert (
        after.value("neo_db_retries_total", **retries)
        - before.value("neo_db_retries_total", **retries)
        == 1
    )


async def test_a_refused_record_fails_its_work_and_is_no_error_of_the_store(
    postgres: PostgresStore, watched: Watched
) -> None:
    record = network()
    await postgres.port("networks").write([record])
    before = await watched.look()
    with pytest.raises(ConflictError):
        async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as unit:
            await unit.repository(Network).add(record)
    after = await watched.look()
    failed = {"operation": "unit_of_work", "outcome": "failed"}
    duration = "neo_db_transaction_duration_seconds_count"
    assert after.value(duration, **failed) - before.value(duration, **failed) == 1
    assert after.value("neo_db_errors_total") == before.value("neo_db_errors_total")


async def test_a_statement_that_the_server_refuses_is_an_error(
    postgres: PostgresStore, watched: Watched
) -> None:
    before = await watched.look()
    await be_refused(postgres)
    after = await watched.look()
    refused = {"store": "postgres", "operation": "savepoint", "kind": "PolystoreError"}
    assert after.value("neo_db_errors_total", **refused) == 1
    assert after.value("neo_db_errors_total") - before.value("neo_db_errors_total") == 1


async def test_a_probe_does_not_start_the_counts_anew(facade: Polystore, watched: Watched) -> None:
    await asyncio.gather(*(missing(facade, number) for number in range(20)))
    before = await watched.look()
    await check_health(facade)
    after = await watched.look()
    reads = {"store": "postgres", "kind": "reads"}
    assert before.value("neo_coalesced_items_total", **reads) >= 20
    for name in ("neo_coalesced_items_total", "neo_coalesced_batches_total"):
        assert after.value(name, **reads) == before.value(name, **reads)


async def test_a_connection_that_is_taken_is_active(
    postgres: PostgresStore, watched: Watched
) -> None:
    pool = {"store": "postgres", "pool": "pool"}
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT):
        during = await watched.look()
    after = await watched.look()
    active = "neo_db_connections_active"
    assert during.value(active, **pool) == after.value(active, **pool) + 1
    assert after.value("neo_db_connections_idle", **pool) >= 1
    assert after.value("neo_db_connection_wait_seconds_count", store="postgres") > 0


async def test_deliveries_and_dead_letters_are_counted_by_topic(
    postgres: PostgresStore, watched: Watched
) -> None:
    await watched.look()
    topic = {"topic": "networks"}
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as unit:
        await unit.publish_record(network())
    assert await watched.until_more("neo_relay_delivered_total", **topic) == 1
    await watched.until(lambda found: found >= 1, "neo_outbox_delivered_total", **topic)
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as unit:
        await unit.publish("networks", "poison", {"chain_id": "no number"})
    assert await watched.until_more("neo_relay_dead_letters_total", **topic) == 1
    await watched.until(lambda found: found == 1, "neo_outbox_dead_letters", **topic)
    await watched.until(lambda found: found == 0, "neo_outbox_pending", **topic)


async def test_what_nobody_takes_is_pending_and_grows_old(
    postgres: PostgresStore, watched: Watched
) -> None:
    name = f"test-{uuid4().hex[:8]}"
    await watched.look()
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as unit:
        for number in range(3):
            await unit.publish(name, str(number), {})
    await watched.until_more("neo_outbox_oldest_age_seconds", topic=name)
    assert watched.last.value("neo_outbox_pending", topic=name) == 3
    await watched.until_more("neo_relay_failures_total", topic=name)
    assert watched.last.value("neo_relay_blocked", topic=name) == 1
    await watched.until_more("neo_outbox_oldest_age_seconds", topic=name)


async def test_a_run_of_a_job_is_counted_and_dated(
    postgres: PostgresStore, watched: Watched
) -> None:
    job = {"job": "outbox-partitions"}
    before = await watched.look()
    run = await watched.work.scheduler.run_now("outbox-partitions")
    assert run.outcome == "done"
    after = await watched.look()
    runs = "neo_job_runs_total"
    assert after.value(runs, **job, outcome="done") - before.value(runs, **job, outcome="done") == 1
    success = "neo_job_last_success_timestamp_seconds"
    assert after.value(success, **job) > before.value(success, **job)
    assert after.value(success, **job) == pytest.approx(
        run.firing.scheduled_for.timestamp(), abs=60
    )
    assert 0 < after.value("neo_job_last_duration_seconds", **job) < 60
    assert after.value("neo_job_running", **job) == 0


async def test_topics_beyond_the_limit_are_one(postgres: PostgresStore, watched: Watched) -> None:
    async with postgres.unit_of_work(tenant=SYSTEM_TENANT) as unit:
        for number in range(MOST_NAMES + 50):
            await unit.publish(f"many-{number}", "key", {})
    await watched.until_more("neo_outbox_pending", topic="other")
    pending = [key for key in watched.last.values if key[0] == "neo_outbox_pending"]
    assert len(pending) == MOST_NAMES + 1


async def test_a_database_that_is_away_leaves_a_page(
    facade: Polystore, postgres: PostgresStore, unused_tcp_port: int
) -> None:
    away = PostgresStore(postgres.config.model_copy(update={"port": unused_tcp_port}))
    facade = Polystore(routing=facade.routing, stores={"postgres": away}, ports={})
    telemetry = Telemetry(facade, fresh=0)
    page, content_type = await telemetry.page(OPENMETRICS)
    scraped = Scraped(page.decode(), content_type)
    assert scraped.value("neo_store_up", store="postgres") == 0
    assert scraped.value("neo_telemetry_source_up", source="outbox") == 0
    assert scraped.value("neo_db_errors_total", store="postgres", kind="UnavailableError") >= 1
    assert "neo_outbox_held" not in scraped.families
    with pytest.raises(UnavailableError):
        await away.port("networks").get("1")
    await telemetry.close()
    await away.close()


async def test_a_sample_needs_the_labels_of_its_family() -> None:
    with pytest.raises(ValueError, match=r"neo_db_query_duration_seconds has the labels"):
        Page().add(QUERIES, 1, "postgres")


def test_the_documented_table_is_the_one_in_force() -> None:
    """`python -m tools.telemetry` writes it."""
    text = PAGE.read_text()
    assert with_table(text) == text


async def test_after_traffic_there_is_every_documented_family_and_no_other(
    polystore: Polystore,
) -> None:
    record = network()
    http = HttpCounts()
    started = datetime(2026, 1, 5, 2, tzinfo=UTC)

    async def backups() -> dict[str, Newest]:
        return {"postgres": Newest(started, None), "files": Newest(started, started)}

    http.add(route="/health", method="GET", status=200, seconds=0.1)
    async with background_work(polystore) as work:
        telemetry = Telemetry(
            polystore, http=http, work=work, backups=backups, fresh=0, patience=10
        )
        watched = Watched(telemetry, work)
        await watched.look()

        async def publish(unit: UnitOfWork) -> None:
            await unit.publish_record(record)

        await polystore.execute_in_transaction("test.publish", publish, tenant=SYSTEM_TENANT)
        await watched.until_more("neo_relay_delivered_total", topic="networks")
        await work.scheduler.run_now("outbox-partitions")
        await polystore.networks.get(record.key)
        await be_refused(cast("PostgresStore", polystore.stores["postgres"]))
        page = await watched.look(OPENMETRICS)
        await watched.telemetry.close()
    declared = {
        name: (f.kind, frozenset(f.labels))
        for name, f in FAMILIES.items()
        if not name.startswith("neo_wal_")  # where WAL is archived: tests/pitr
    }
    assert page.ours() == declared
    proven = "neo_backup_proven_timestamp_seconds"
    assert page.value("neo_backup_newest_timestamp_seconds", store="files") == started.timestamp()
    assert page.value(proven, store="files") == started.timestamp()
    assert page.value(proven, store="postgres") == 0
