"""What is forgotten, and what never is: runs of the scheduler and dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from neo_polystore.errors import UsageError, ValidationError
from neo_polystore.ops.jobs import platform_jobs
from neo_polystore.ops.relay import Relay
from neo_polystore.ops.scheduler import Scheduler
from neo_polystore.ports.outbox import DeadLetter, Draft
from neo_polystore.records.scope import SYSTEM
from neo_polystore.stores.postgres import pruning
from neo_polystore.stores.postgres.store import PostgresStore
from tests.ops.conftest import owner_of
from tests.ops.sinks import Collecting

DAYS = 30


@pytest.fixture
async def owner(store: PostgresStore) -> AsyncIterator[Any]:
    """A connection as the owner of the schema."""
    connection = await owner_of(store)
    yield connection
    await connection.close()


@pytest.fixture
async def relay(store: PostgresStore) -> AsyncIterator[Any]:
    """A connection as the role of background work."""
    config = store.config.as_relay()
    connection = await asyncpg.connect(**config.connect_arguments())
    yield connection
    await connection.close()


async def job_with_runs(owner: Any, *outcomes: str, days: int) -> str:
    """A job with these runs, oldest first, all of so many days ago."""
    name = f"j-{uuid4().hex[:12]}"
    await owner.execute("INSERT INTO scheduler.jobs VALUES ($1, '0 0 1 1 *', '9999-01-01')", name)
    for token, outcome in enumerate(outcomes, 1):
        await owner.execute(
            "INSERT INTO scheduler.runs (job, token, holder, scheduled_for, forced, started_at,"
            " outcome) SELECT $1, $2, 'h', t, true, t, $3"
            " FROM (SELECT now() - make_interval(days => $4)) AS x (t)",
            *(name, token, outcome, days),
        )
    return name


async def outcomes(store: PostgresStore, job: str) -> list[str]:
    """The outcomes of a job's runs that are on record, oldest first."""
    return [run.outcome for run in reversed(await store.ledger.history(job))]


async def letters(store: PostgresStore, topic: str, count: int) -> list[DeadLetter]:
    """So many new dead letters."""
    sink = Collecting()
    sink.poison = set(range(count))
    await store.outbox.publish([Draft(topic, "k", n) for n in range(count)], SYSTEM)
    await Relay(store.feed, {topic: sink}.get, holder="test").drain()
    return await store.outbox_admin.dead_letters(topic=topic)


async def age(relay: Any, topic: str, days: int) -> None:
    """Have a topic's dead letters be so old, and what was done with them."""
    await relay.execute(
        "UPDATE outbox.dead_letters SET first_failed = first_failed - $2::interval,"
        " last_failed = last_failed - $2::interval, replayed_at = replayed_at - $2::interval,"
        " discarded_at = discarded_at - $2::interval WHERE topic = $1",
        topic,
        timedelta(days=days),
    )


async def test_old_runs_go_but_the_last_ones_of_each_job_stay(
    store: PostgresStore, owner: Any
) -> None:
    old = await job_with_runs(owner, "done", "failed", "done", "lost", "done", days=DAYS + 1)
    young = await job_with_runs(owner, "done", "done", "done", days=DAYS - 1)
    dry = await store.upkeep.prune_runs(days=DAYS, keep=2, dry_run=True)
    assert (dry[old], young in dry) == (3, False)
    assert len(await outcomes(store, old)) == 5
    assert (await store.upkeep.prune_runs(days=DAYS, keep=2))[old] == 3
    assert await outcomes(store, old) == ["lost", "done"]
    assert await outcomes(store, young) == ["done"] * 3
    assert old not in await store.upkeep.prune_runs(days=DAYS, keep=2)


async def test_the_last_success_and_what_is_running_stay_however_old(
    store: PostgresStore, owner: Any
) -> None:
    kinds = ("done", "done", "running", "failed", "failed", "failed")
    job = await job_with_runs(owner, *kinds, days=DAYS + 1)
    await store.upkeep.prune_runs(days=DAYS, keep=1)
    assert await outcomes(store, job) == ["done", "running", "failed"]


async def test_a_dead_letter_that_nobody_dealt_with_stays_however_old(
    store: PostgresStore, relay: Any, topic: str
) -> None:
    await letters(store, topic, 3)
    await age(relay, topic, 4000)
    assert topic not in await store.upkeep.prune_dead_letters(days=0, dry_run=True)
    assert topic not in await store.upkeep.prune_dead_letters(days=0)
    assert len(await store.outbox_admin.dead_letters(topic=topic)) == 3


async def test_replayed_and_discarded_letters_go_when_they_are_old(
    store: PostgresStore, relay: Any, topic: str
) -> None:
    replayed, discarded, waiting = await letters(store, topic, 3)
    await store.outbox_admin.replay([replayed.id])
    await store.outbox_admin.discard([discarded.id], reason="a test's")
    assert topic not in await store.upkeep.prune_dead_letters(days=DAYS)
    await age(relay, topic, DAYS + 1)
    assert (await store.upkeep.prune_dead_letters(days=DAYS, dry_run=True))[topic] == 2
    assert len(await store.outbox_admin.dead_letters(topic=topic, settled=True)) == 3
    assert (await store.upkeep.prune_dead_letters(days=DAYS))[topic] == 2
    [left] = await store.outbox_admin.dead_letters(topic=topic, settled=True)
    assert left.id == waiting.id


async def test_letters_go_in_portions(
    store: PostgresStore, relay: Any, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PORTION", 2)
    found = await letters(store, topic, 5)
    await store.outbox_admin.discard([letter.id for letter in found], reason="x")
    await age(relay, topic, DAYS + 1)
    assert (await store.upkeep.prune_dead_letters(days=DAYS))[topic] == 5


async def test_the_database_lets_nobody_delete_an_open_letter(
    store: PostgresStore, relay: Any, owner: Any, topic: str
) -> None:
    await letters(store, topic, 1)
    deletion = "DELETE FROM outbox.dead_letters WHERE topic = $1"
    for connection in (relay, owner):
        await connection.execute(
            "SELECT set_config('app.current_tenant', $1, false)", str(SYSTEM.tenant)
        )
        assert await connection.execute(deletion, topic) == "DELETE 0"


async def test_a_discarded_letter_is_settled_and_is_not_replayed(
    store: PostgresStore, topic: str
) -> None:
    first, second = await letters(store, topic, 2)
    assert await store.outbox_admin.discard([first.id], reason="the order was cancelled") == 1
    assert await store.outbox_admin.discard([first.id], reason="again") == 0
    assert await store.outbox_admin.replay([first.id]) == 0
    [status] = [t for t in (await store.outbox_admin.status()).topics if t.topic == topic]
    assert status.dead == 1
    found = await store.outbox_admin.dead_letters(topic=topic, settled=True)
    assert [letter.discard_reason for letter in found] == ["the order was cancelled", None]
    assert [letter.id for letter in await store.outbox_admin.dead_letters(topic=topic)] == [
        second.id
    ]


async def test_discarding_takes_a_reason(store: PostgresStore, topic: str) -> None:
    [letter] = await letters(store, topic, 1)
    with pytest.raises(ValidationError, match="reason"):
        await store.outbox_admin.discard([letter.id], reason=" ")


async def test_dead_letters_are_read_page_by_page(store: PostgresStore, topic: str) -> None:
    found = await letters(store, topic, 5)
    seen: list[int] = []
    while page := await store.outbox_admin.dead_letters(
        topic=topic, after=seen[-1] if seen else 0, limit=2
    ):
        seen += [letter.id for letter in page]
    assert seen == [letter.id for letter in found]


async def test_runs_are_read_page_by_page_the_newest_first(
    store: PostgresStore, owner: Any
) -> None:
    job = await job_with_runs(owner, *["done"] * 5, days=1)
    seen: list[int] = []
    while page := await store.ledger.history(job, before=seen[-1] if seen else None, limit=2):
        seen += [run.id for run in page]
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("numbers", [{"days": -1}, {"days": 10**6}, {"keep": 0}])
async def test_senseless_numbers_are_refused(store: PostgresStore, numbers: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(numbers))):
        await store.upkeep.prune_runs(**numbers)


@pytest.mark.parametrize("job", ["expired-data", "scheduler-runs", "dead-letters"])
async def test_the_job_says_what_it_removed(
    store: PostgresStore, owner: Any, relay: Any, topic: str, job: str
) -> None:
    await owner.execute("SELECT set_config('app.current_service', 'billing', false)")
    await owner.execute(
        "INSERT INTO sgx.sealed_data_items (service_name, item_key, sealed_data, expires_at)"
        " VALUES ('billing', $1, '\\x00', now() - interval '1 day')",
        uuid4().hex,
    )
    old = await job_with_runs(owner, *["failed"] * 103, days=91)
    [letter] = await letters(store, topic, 1)
    await store.outbox_admin.discard([letter.id], reason="x")
    await age(relay, topic, 366)
    run = await Scheduler(store.ledger, platform_jobs(store.upkeep), holder="test").run_now(job)
    assert run.outcome == "done", run.error
    expected = {
        "expired-data": ("sealed_data_items", 1),
        "scheduler-runs": (old, 3),
        "dead-letters": (topic, 1),
    }
    name, count = expected[job]
    assert run.result[name] == count
    [record] = await store.ledger.history(job, limit=1)
    assert record.result == run.result
