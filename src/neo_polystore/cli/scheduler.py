"""`neo-polystore scheduler`: the platform's own jobs, when they ran and how that ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore import tracing
from neo_polystore.build import open_polystore
from neo_polystore.cli.outbox import DryRun, relational, show_counts
from neo_polystore.cli.output import JsonOption, console, err, print_json, run
from neo_polystore.cli.text import printable
from neo_polystore.errors import UsageError
from neo_polystore.ops import log_setup
from neo_polystore.ops.background import jobs_of, operational, process_name
from neo_polystore.ops.history import history
from neo_polystore.ops.job_rules import JOBS, ruled
from neo_polystore.ops.jobs import platform_jobs
from neo_polystore.ops.scheduler import OFF, Run, Scheduler
from neo_polystore.ports.relational import Operational
from neo_polystore.ports.scheduling import JobStatus, PastRun
from neo_polystore.settings import Settings

app = typer.Typer(help="The platform's own jobs.", no_args_is_help=True)


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """Show every job: its rule, when it is due, how its last run ended."""
    found = run(_status())
    if as_json:
        print_json([asdict(job) for job in found])
        return
    table = Table(title="Jobs (times in UTC)", title_justify="left")
    for heading in ("job", "rule", "next", "last run", "outcome", "seconds", "detail"):
        table.add_column(heading, overflow="fold")
    for job in found:
        table.add_row(
            job.name,
            job.cron,
            "-" if job.cron == OFF else _time(job.next_run),
            _time(job.last_run),
            "running" if job.holder else job.last_outcome or "-",
            "-" if job.last_seconds is None else f"{job.last_seconds:.1f}",
            escape(job.last_error or ("-" if job.last_result is None else str(job.last_result))),
        )
    console.print(table)


@app.command("run")
def run_job(
    job: Annotated[
        str | None, typer.Argument(help="This job, now and once; without it, what comes due.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run jobs as they come due, until SIGTERM; or one job now, here.

    Exit code 1 where that job failed, or is running already.
    """
    if job is None:
        run(_serve())
        return
    done = run(_run(job))
    if as_json:
        print_json(asdict(done))
    else:
        detail = done.error or ("" if done.result is None else str(done.result))
        console.print(f"{job}: {done.outcome} {escape(detail)}".rstrip())
    if done.outcome != "done":
        raise typer.Exit(1)


@app.command()
def trigger(job: Annotated[str, typer.Argument(help="The job's name.")]) -> None:
    """Make a job due now: a process that runs jobs begins it within a second or two."""
    run(_trigger(job))
    console.print(f"{job} is due now")


@app.command("history")
def show_history(
    job: Annotated[str | None, typer.Argument(help="The job's name; else of all jobs.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    before: Annotated[
        int | None, typer.Option(min=1, help="Older than the run with this id: the next page.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show runs on record, the newest first."""
    found, following = run(_history(job, before, limit))
    if as_json:
        print_json({"runs": [asdict(each) for each in found], "next": following})
        return
    table = Table(title="Runs (times in UTC)", title_justify="left")
    for heading in ("id", "job", "due", "started", "outcome", "seconds", "holder", "detail"):
        table.add_column(heading, overflow="fold")
    for each in found:
        table.add_row(
            str(each.id),
            escape(printable(each.job)),
            "by hand" if each.forced else _time(each.scheduled_for),
            _time(each.started_at),
            each.outcome,
            "-" if each.seconds is None else f"{each.seconds:.1f}",
            escape(printable(each.holder)),
            escape(each.error or ("-" if each.result is None else str(each.result))),
        )
    console.print(table)
    if following is not None:
        console.print(f"older ones: --before {following}")


@app.command()
def prune(
    days: Annotated[
        int | None, typer.Option(min=0, help="Ended so many days ago; else NEO_SCHEDULER_RUN_DAYS.")
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Last runs of each job to keep; else NEO_SCHEDULER_RUNS_KEPT."),
    ] = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Forget old runs; the last ones of each job stay, and its last success."""
    found = run(_prune(days, keep, dry_run=dry_run))
    show_counts(found, "job", "runs", dry_run=dry_run, as_json=as_json)


async def _history(
    job: str | None, before: int | None, limit: int
) -> tuple[list[PastRun], int | None]:
    async with relational() as store:
        return await history(store.ledger, job, before=before, limit=limit)


async def _prune(days: int | None, keep: int | None, *, dry_run: bool) -> dict[str, int]:
    async with relational() as store:
        return await store.upkeep.prune_runs(days=days, keep=keep, dry_run=dry_run)


async def _status() -> Sequence[JobStatus]:
    async with relational() as store:
        await _upkeep(store).register()
        return await store.ledger.status()


async def _run(job: str) -> Run:
    _known(job)
    async with relational() as store:
        scheduler = _upkeep(store)
        if job in scheduler.jobs:
            return await scheduler.run_now(job)
    async with _everything() as scheduler:
        return await scheduler.run_now(job)


async def _serve() -> None:
    settings = Settings.load()
    log_setup.configure(settings)
    stop_tracing = tracing.start(settings.neo_trace_sample)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with _everything() as scheduler:
        err.print(f"running {len(scheduler.jobs)} jobs as they come due")
        await scheduler.run_forever(stop)
    await asyncio.to_thread(stop_tracing)


async def _trigger(job: str) -> None:
    _known(job)
    async with relational() as store:
        await _upkeep(store).trigger(job)


def _known(job: str) -> None:
    if job not in JOBS:
        raise UsageError(f"no job {job!r}; there are {', '.join(sorted(JOBS))}")


def _upkeep(store: Operational) -> Scheduler:
    """The jobs that need no other store open."""
    jobs = ruled(platform_jobs(store.upkeep), Settings.load().neo_jobs)
    return Scheduler(store.ledger, jobs, holder=process_name())


@asynccontextmanager
async def _everything() -> AsyncIterator[Scheduler]:
    settings = Settings.load()
    async with open_polystore(settings, tolerant=True) as polystore:
        store = operational(polystore)
        jobs = jobs_of(polystore, store, settings)
        yield Scheduler(store.ledger, jobs, holder=process_name())


def _time(value: datetime | None) -> str:
    return "-" if value is None else f"{value:%Y-%m-%d %H:%M:%S}"
