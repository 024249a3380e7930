"""The scheduler: each job once per firing across any number of processes, every run on record."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

from cronsim import CronSim, CronSimError

from neo_polystore.errors import (
    ConfigError,
    ConflictError,
    NotFoundError,
    PolystoreError,
    UsageError,
)
from neo_polystore.ops.lease import LeaseLostError, keeping
from neo_polystore.ports.scheduling import Firing, Ledger, Outcome
from neo_polystore.tracing import span

_log = logging.getLogger(__name__)

Clock = Callable[[], Awaitable[datetime]]

Misfire = Literal["once", "skip"]
"""What becomes of firings that were missed because nobody ran: all of them are made good by one
run, or they are passed over."""

OFF = "off"
"""The rule of a job that never comes due by itself; it can be run or triggered."""

NEVER = datetime(9999, 12, 31, tzinfo=UTC)

LATE = timedelta(minutes=5)
"""How long after its time a firing counts as missed."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work with a cron rule (five fields, UTC, as Debian's cron reads them; 0 is Sunday) or `OFF`.

    `work` gets the firing; what it answers goes on record as JSON. It may run again for the same
    firing after a crash, so it must be idempotent, or fence its effect by the firing's token.
    `lease` is how many seconds after a crash another process may take over. A run that a crash
    cut short was begun, so it is not missed: it is taken over whatever `misfire` says.
    """

    name: str
    cron: str
    work: Callable[[Firing], Awaitable[Any]]
    lease: float = 10.0
    misfire: Misfire = "once"

    def next_after(self, moment: datetime) -> datetime:
        """The first time after `moment`; raises ConfigError for a rule that is none or never."""
        if self.cron == OFF:
            return NEVER
        try:
            return next(CronSim(self.cron, moment))
        except (CronSimError, StopIteration) as error:
            raise ConfigError(f"job {self.name}: no cron rule: {self.cron!r} ({error})") from None


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended. `lost`: somebody else had taken over, and its record counts."""

    firing: Firing
    outcome: Outcome
    result: Any = None
    error: str | None = None


class Scheduler:
    """Runs what is due until it is stopped; `holder` names this process to others and to people.

    Raises ConfigError for a job whose rule is none.

    A job that was due any number of times while nobody ran is run once, unless its misfire rule
    is to skip, and then goes on by its rule. `clock` is the ledger's by default, so that all
    processes share it. `counts` says how the runs of each job ended in this process.
    """

    def __init__(
        self,
        ledger: Ledger,
        jobs: Iterable[Job],
        *,
        holder: str,
        clock: Clock | None = None,
        poll: float = 1.0,
        grace: float = 10.0,
    ):
        self.jobs = {job.name: job for job in jobs}
        for job in self.jobs.values():
            job.next_after(datetime.now(UTC))
        self.counts: dict[str, Counter[Outcome]] = defaultdict(Counter)
        self._ledger = ledger
        self._holder = holder
        self._clock = clock or ledger.now
        self._poll = poll
        self._grace = grace
        self._running: dict[str, asyncio.Task[Run | None]] = {}

    async def register(self) -> None:
        """Make the jobs known."""
        now = await self._clock()
        for job in self.jobs.values():
            await self._ledger.register(job.name, job.cron, job.next_after(now))

    async def run_forever(self, stop: asyncio.Event) -> None:
        """Run what comes due until `stop` is set; then let running jobs end.

        After `grace` seconds they are cancelled, which leaves them due. An unavailable ledger is
        tried again and again.
        """
        registered = False
        trouble: str | None = None
        try:
            while not stop.is_set():
                try:
                    if not registered:
                        await self.register()
                        registered = True
                    await self._start_due()
                    trouble = None
                except PolystoreError as error:
                    if str(error) != trouble:
                        trouble = str(error)
                        _log.warning("the scheduler's ledger cannot be used: %s", error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._poll)
        finally:
            await self._end()

    async def tick(self) -> list[Run]:
        """Run what is due now, side by side, to its end: one pass of `run_forever`."""
        await self._start_due()
        found = await asyncio.gather(*self._running.values())
        return [run for run in found if run is not None]

    async def run_now(self, name: str) -> Run:
        """Run a job at once, due or not; when it is due next stays as it is.

        Raises UsageError for an unknown job, ConflictError while it is running somewhere.
        """
        if name not in self.jobs:
            raise UsageError(f"no job {name!r}; there are {', '.join(sorted(self.jobs))}")
        await self.register()
        run = await self._run(self.jobs[name], forced=True)
        if run is None:
            raise ConflictError(f"job {name!r} is running already")
        return run

    async def trigger(self, name: str) -> None:
        """Make a job due now, for whichever process runs it next; afterwards its rule holds again.

        Raises NotFoundError for a job that nobody has made known yet.
        """
        if not await self._ledger.trigger(name, now=await self._clock()):
            raise NotFoundError(f"no process that runs jobs has a job {name!r}")

    async def _start_due(self) -> None:
        now = await self._clock()
        for name in await self._ledger.due(now=now):
            if name in self.jobs and name not in self._running:
                if await self._skipped(self.jobs[name], now):
                    continue
                task = asyncio.create_task(self._guarded(self.jobs[name]), name=f"job {name}")
                self._running[name] = task
                task.add_done_callback(partial(self._ran, name))

    async def _skipped(self, job: Job, now: datetime) -> bool:
        if job.misfire != "skip" or not await self._ledger.skip(
            job.name, before=now - LATE, next_run=job.next_after(now)
        ):
            return False
        _log.warning("job %s was missed and is passed over, by its rule", job.name)
        return True

    def _ran(self, name: str, _: asyncio.Task[Run | None]) -> None:
        del self._running[name]

    async def _end(self) -> None:
        tasks = list(self._running.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _guarded(self, job: Job) -> Run | None:
        try:
            return await self._run(job)
        except PolystoreError as error:  # the ledger is away: the lease ends, and it is due again
            _log.warning("job %s: %s", job.name, error)
            return None

    async def _run(self, job: Job, *, forced: bool = False) -> Run | None:
        """Claim, work, record, count; None where somebody else was faster."""
        run = await self._claimed(job, forced=forced)
        if run is not None:
            self.counts[job.name][run.outcome] += 1
        return run

    async def _claimed(self, job: Job, *, forced: bool) -> Run | None:
        asked = asyncio.get_running_loop().time()
        firing = await self._ledger.claim(
            job.name,
            holder=self._holder,
            seconds=job.lease,
            now=await self._clock(),
            forced=forced,
        )
        if firing is None:
            return None
        started = asyncio.get_running_loop().time()
        try:
            async with keeping(partial(self._renew, firing), seconds=job.lease, since=asked):
                with span(f"job {job.name}"):
                    run = Run(firing, "done", result=await job.work(firing))
        except LeaseLostError as error:
            return Run(firing, "lost", error=str(error))
        except asyncio.CancelledError:
            await self._finish(job, Run(firing, "failed", error="stopped"), started, due_again=True)
            raise
        except Exception as error:  # a job is anybody's code
            _log.exception("job %s failed", job.name)
            run = Run(firing, "failed", error=f"{type(error).__name__}: {error}")
        return await self._finish(job, run, started)

    async def _renew(self, firing: Firing) -> bool:
        return await self._ledger.renew(firing, now=await self._clock())

    async def _finish(self, job: Job, run: Run, started: float, *, due_again: bool = False) -> Run:
        now = await self._clock()
        recorded = await self._ledger.finish(
            run.firing,
            now=now,
            next_run=run.firing.scheduled_for if due_again else job.next_after(now),
            seconds=asyncio.get_running_loop().time() - started,
            outcome=run.outcome,
            result=run.result,
            error=run.error,
        )
        return run if recorded else Run(run.firing, "lost", error="somebody else took over")
