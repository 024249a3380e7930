"""The scheduler: once per firing whoever looks, taken over after a crash, every run on record."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from neo_polystore.errors import ConfigError, ConflictError, NotFoundError, UsageError
from neo_polystore.ops.jobs import platform_jobs
from neo_polystore.ops.scheduler import OFF, Job, Scheduler
from neo_polystore.ports.scheduling import Firing, JobStatus
from neo_polystore.stores.postgres.store import PostgresStore
from tests.addresses import told
from tests.ops.conftest import MakeStore, owner_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Work = Callable[[Firing], Awaitable[Any]]


class Clock:
    """A clock that stands until a test moves it."""

    def __init__(self, now: datetime = NOON):
        self.time = now

    async def __call__(self) -> datetime:
        return self.time

    def go(self, **by: float) -> None:
        self.time += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def name() -> str:
    """A job that no other test has."""
    return f"j-{uuid4().hex[:12]}"


class Recorder:
    """A job's work: notes the firings."""

    def __init__(self, pause: float = 0):
        self.firings: list[Firing] = []
        self._pause = pause

    async def __call__(self, firing: Firing) -> dict[str, int]:
        self.firings.append(firing)
        await asyncio.sleep(self._pause)
        return {"n": len(self.firings)}


def scheduler(store: PostgresStore, clock: Clock, *jobs: Job, holder: str = "one") -> Scheduler:
    return Scheduler(store.ledger, jobs, holder=holder, clock=clock, poll=0.01, grace=0.2)


async def status(store: PostgresStore, name: str) -> JobStatus:
    return next(job for job in await store.ledger.status() if job.name == name)


async def outcomes(store: PostgresStore, name: str) -> list[str]:
    owner = await owner_of(store)
    try:
        rows = await owner.fetch(
            "SELECT outcome FROM scheduler.runs WHERE job = $1 ORDER BY id", name
        )
    finally:
        await owner.close()
    return [row["outcome"] for row in rows]


async def test_a_job_runs_when_it_is_due_and_not_before(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    work = Recorder()
    found = scheduler(store, clock, Job(name, "*/10 * * * *", work))
    await found.register()
    clock.go(minutes=9, seconds=59)
    assert await found.tick() == []
    clock.go(seconds=1)
    [run] = await found.tick()
    assert (run.outcome, run.result) == ("done", {"n": 1})
    assert run.firing.scheduled_for == NOON + timedelta(minutes=10)
    assert await found.tick() == []
    assert (await status(store, name)).next_run == NOON + timedelta(minutes=20)


async def test_missed_firings_are_caught_up_once(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    work = Recorder()
    await scheduler(store, clock, Job(name, "0 * * * *", work)).register()
    clock.go(days=2, minutes=5)
    later = scheduler(store, clock, Job(name, "0 * * * *", work))
    await later.register()
    assert len(await later.tick()) == 1
    assert await later.tick() == []
    assert work.firings[0].scheduled_for == NOON + timedelta(hours=1)
    assert (await status(store, name)).next_run == NOON + timedelta(days=2, hours=1)


async def test_a_new_rule_takes_the_place_of_the_old(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    await scheduler(store, clock, Job(name, "0 * * * *", Recorder())).register()
    await scheduler(store, clock, Job(name, "0 2 * * *", Recorder())).register()
    found = await status(store, name)
    assert (found.cron, found.next_run) == ("0 2 * * *", NOON + timedelta(hours=14))


async def test_two_schedulers_run_each_firing_once(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    work = Recorder()
    both = [
        scheduler(store, clock, Job(name, "* * * * *", work), holder=holder)
        for holder in ("one", "two")
    ]
    for found in both:
        await found.register()
    for _ in range(30):
        clock.go(minutes=1)
        await asyncio.gather(*(found.tick() for found in both for _ in range(2)))
    due = [firing.scheduled_for for firing in work.firings]
    assert due == [NOON + timedelta(minutes=n) for n in range(1, 31)]
    tokens = [firing.token for firing in work.firings]
    assert tokens == sorted(set(tokens))


async def test_a_failure_is_on_record_and_the_next_firing_comes(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    async def fail(_: Firing) -> None:
        raise ZeroDivisionError("by nothing")

    found = scheduler(store, clock, Job(name, "* * * * *", fail))
    await found.register()
    for _ in range(2):
        clock.go(minutes=1)
        [run] = await found.tick()
        assert (run.outcome, run.error) == ("failed", "ZeroDivisionError: by nothing")
    assert (await status(store, name)).last_error == "ZeroDivisionError: by nothing"


async def test_a_job_that_fails_does_not_keep_another_from_running(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    async def fail(_: Firing) -> None:
        raise ZeroDivisionError

    work = Recorder()
    found = scheduler(
        store, clock, Job(name, "* * * * *", fail), Job(name + "2", "* * * * *", work)
    )
    await found.register()
    clock.go(minutes=1)
    await found.tick()
    assert len(work.firings) == 1


async def test_a_crashed_holder_is_followed_when_its_lease_has_ended(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    work = Recorder()
    found = scheduler(store, clock, Job(name, "0 * * * *", work))
    await found.register()
    clock.go(hours=1)
    dead = await store.ledger.claim(name, holder="dead", seconds=10, now=clock.time)
    assert dead
    assert await found.tick() == []
    clock.go(seconds=9)
    assert await found.tick() == []
    clock.go(seconds=1)
    [run] = await found.tick()
    assert run.firing.scheduled_for == dead.scheduled_for
    assert run.firing.token > dead.token
    assert await outcomes(store, name) == ["lost", "done"]


async def test_a_holder_that_comes_back_too_late_can_record_nothing(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    found = scheduler(store, clock, Job(name, "0 * * * *", Recorder()))
    await found.register()
    clock.go(hours=1)
    late = await store.ledger.claim(name, holder="late", seconds=10, now=clock.time)
    assert late
    clock.go(seconds=11)
    await found.tick()
    assert not await store.ledger.renew(late, now=clock.time)
    assert not await store.ledger.finish(
        late, now=clock.time, next_run=clock.time, seconds=1, outcome="done"
    )
    assert await outcomes(store, name) == ["lost", "done"]


async def test_work_is_stopped_when_somebody_else_has_taken_over(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    async def usurped(firing: Firing) -> None:
        clock.go(seconds=20)
        assert await store.ledger.claim(name, holder="other", seconds=10, now=clock.time)
        await asyncio.Event().wait()

    found = scheduler(store, clock, Job(name, "0 * * * *", usurped, lease=0.3))
    await found.register()
    clock.go(hours=1)
    [run] = await found.tick()
    assert run.outcome == "lost"
    assert await outcomes(store, name) == ["lost", "running"]


async def test_work_longer_than_its_lease_keeps_it(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    found = scheduler(store, clock, Job(name, "0 * * * *", Recorder(pause=0.7), lease=0.3))
    await found.register()
    clock.go(hours=1)
    [run] = await found.tick()
    assert run.outcome == "done"


async def test_a_stopped_scheduler_lets_short_work_end_and_leaves_long_work_due(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    short, long = Recorder(pause=0.05), Recorder(pause=60)
    jobs = (Job(f"{name}-short", "0 * * * *", short), Job(f"{name}-long", "0 * * * *", long))
    found = scheduler(store, clock, *jobs)
    await found.register()
    clock.go(hours=1)
    stop = asyncio.Event()
    running = asyncio.create_task(found.run_forever(stop))
    async with asyncio.timeout(10):
        while not (short.firings and long.firings):
            await asyncio.sleep(0.005)
    stop.set()
    await running
    assert await outcomes(store, f"{name}-short") == ["done"]
    assert await outcomes(store, f"{name}-long") == ["failed"]
    left = await status(store, f"{name}-long")
    assert (left.next_run, left.holder, left.last_error) == (clock.time, None, "stopped")


async def test_a_job_can_be_run_at_once_without_moving_its_rule(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    work = Recorder()
    found = scheduler(store, clock, Job(name, "0 * * * *", work))
    run = await found.run_now(name)
    assert (run.outcome, run.firing.forced) == ("done", True)
    assert (await status(store, name)).next_run == NOON + timedelta(hours=1)
    with pytest.raises(UsageError, match=name):
        await found.run_now("nonsense")


async def test_a_job_that_skips_passes_over_what_was_missed(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    work = Recorder()
    found = scheduler(store, clock, Job(name, "0 * * * *", work, misfire="skip"))
    await found.register()
    clock.go(hours=5, minutes=6)
    assert await found.tick() == []
    assert (await status(store, name)).next_run == NOON + timedelta(hours=6)
    clock.go(minutes=57)  # three minutes late is not missed
    [run] = await found.tick()
    assert run.firing.scheduled_for == NOON + timedelta(hours=6)


async def test_a_crashed_run_is_no_missed_one(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    found = scheduler(store, clock, Job(name, "0 * * * *", Recorder(), misfire="skip"))
    await found.register()
    clock.go(hours=1)
    assert await store.ledger.claim(name, holder="dead", seconds=10, now=clock.time)
    clock.go(minutes=30)
    [run] = await found.tick()
    assert run.firing.scheduled_for == NOON + timedelta(hours=1)


async def test_a_triggered_job_is_due_once_for_whoever_runs_jobs(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    work = Recorder()
    found = scheduler(store, clock, Job(name, "0 2 * * *", work))
    with pytest.raises(NotFoundError):
        await found.trigger(name)
    await found.register()
    await scheduler(store, clock, holder="another").trigger(name)
    [run] = await found.tick()
    assert (run.firing.scheduled_for, run.firing.forced) == (NOON, False)
    assert await found.tick() == []
    assert (await status(store, name)).next_run == NOON + timedelta(hours=14)


async def test_a_job_that_is_off_runs_by_hand_only(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    await scheduler(store, clock, Job(name, "0 * * * *", Recorder())).register()
    work = Recorder()
    found = scheduler(store, clock, Job(name, OFF, work))
    await found.register()
    clock.go(days=4000)
    assert await found.tick() == []
    assert (await found.run_now(name)).outcome == "done"
    assert (await status(store, name)).cron == OFF
    again = scheduler(store, clock, Job(name, "0 * * * *", work))
    await again.register()
    clock.go(hours=1)
    assert len(await again.tick()) == 1


async def test_a_job_that_is_running_is_not_run_a_second_time(
    store: PostgresStore, clock: Clock, name: str
) -> None:
    found = scheduler(store, clock, Job(name, "0 * * * *", Recorder()))
    await found.register()
    await store.ledger.claim(name, holder="other", seconds=10, now=clock.time, forced=True)
    with pytest.raises(ConflictError, match="running"):
        await found.run_now(name)


@pytest.mark.parametrize("rule", ["", "* * * *", "61 * * * *", "0 0 30 2 *", "daily"])
def test_a_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match="no cron rule"):
        Job("broken", rule, Recorder()).next_after(NOON)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("0 2 * * *", datetime(2026, 3, 2, 2, tzinfo=UTC)),
        ("0 3 * * 0", datetime(2026, 3, 8, 3, tzinfo=UTC)),
        ("30 1 1 * *", datetime(2026, 4, 1, 1, 30, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_rules_are_read_as_cron_reads_them(rule: str, expected: datetime) -> None:
    assert Job("any", rule, Recorder()).next_after(NOON) == expected


async def test_the_platforms_jobs_do_their_work(store: PostgresStore) -> None:
    found = Scheduler(store.ledger, platform_jobs(store.upkeep), holder="test")
    for job in ("transaction-partitions", "outbox-partitions", "vacuum"):
        run = await found.run_now(job)
        assert (run.outcome, run.error) == ("done", None)


async def test_a_process_killed_in_the_middle_of_a_job_is_followed_by_another(
    make_store: MakeStore,
) -> None:
    store = await make_store()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.ops.scheduler_process",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(told(store.config)).encode() + b"\n")
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"working\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    killed = asyncio.get_running_loop().time()
    work = Recorder()
    found = Scheduler(
        store.ledger, [Job("stuck", "0 0 1 1 *", work, lease=1.0)], holder="b", poll=0.05
    )
    stop = asyncio.Event()
    running = asyncio.create_task(found.run_forever(stop))
    async with asyncio.timeout(15):
        while not work.firings:
            await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - killed < 5
    stop.set()
    await running
    assert await outcomes(store, "stuck") == ["lost", "done"]
