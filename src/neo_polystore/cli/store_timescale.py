"""`neo-polystore store timescale`: rollups, compression and retention of the metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.errors import UnsupportedError
from neo_polystore.ops.background import metric_upkeeps
from neo_polystore.ports.metric_upkeep import (
    Compressed,
    MetricUpkeep,
    Refreshed,
    Retained,
    RollupStatus,
)

app = typer.Typer(help="Rollups, compression and retention of the metrics.", no_args_is_help=True)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
Since = Annotated[
    datetime | None, typer.Option(formats=_FORMATS, help="From this time on, in UTC.")
]
Until = Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Before this time, in UTC.")]


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show the mode, how far rollups lag, what is kept how long, what the engine runs itself."""
    found = run(_status())
    if as_json:
        print_json(asdict(found))
        return
    console.print(f"mode: {found.mode}" + (f" {found.version}" if found.version else ""))
    if found.mode == "plain":
        oldest = f", the oldest {_time(found.oldest)}" if found.oldest else ""
        console.print(f"hours that wait for a refresh: {found.pending_hours:,}{oldest}")
    _print(
        ("level", "kept", "dropped before", "past their time", "setting"),
        ((k.level, k.keep, _time(k.gone_before), f"{k.past:,}", k.setting) for k in found.levels),
    )
    if found.tasks:
        _print(
            ("policy", "on", "last success", "next", "failures"),
            (
                (t.name, t.relation, _time(t.last_success), _time(t.next_start), str(t.failures))
                for t in found.tasks
            ),
        )


@app.command()
def refresh(since: Since = None, until: Until = None, as_json: JsonOption = False) -> None:
    """Bring rollups up to date with late and changed points; by default wherever there are any."""
    done = run(_refresh(_utc(since), _utc(until)))
    if as_json:
        print_json(asdict(done))
    elif done.hours is None:
        console.print("refreshed by TimescaleDB")
    else:
        console.print(f"hours aggregated again: {done.hours:,}")


@app.command()
def compress(as_json: JsonOption = False) -> None:
    """Compress days that are old enough for it. Exit code 1 where the table was busy."""
    done = run(_compress())
    if as_json:
        print_json(asdict(done))
    elif done.days is None:
        console.print("compressed by TimescaleDB")
    else:
        console.print(f"days compressed: {done.days:,}, of {done.points:,} points")
    _end_if_busy(done, "compressed", as_json=as_json)


@app.command()
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be dropped.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Drop points and rollups that are past their time. Exit code 1 where the table was busy."""
    done = run(_retain(dry_run=dry_run))
    if as_json:
        print_json(asdict(done))
    elif done.dropped:
        _print(
            ("level", "since", "until", "rows"),
            ((d.level, _time(d.since), _time(d.until), f"{d.rows:,}") for d in done.dropped),
        )
    else:
        console.print("nothing is past its time")
    _end_if_busy(done, "dropped", as_json=as_json)


def _end_if_busy(done: Compressed | Retained, what: str, *, as_json: bool) -> None:
    if done.busy:
        if not as_json:
            console.print(f"others hold the table: the rest will be {what} by the next run")
        raise typer.Exit(1)


def _print(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table()
    for heading in headings:
        numeric = heading in ("past their time", "rows", "failures")
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _time(value: datetime | None) -> str:
    return "-" if value is None else f"{value:%Y-%m-%d %H:%M}"


def _utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)


@asynccontextmanager
async def _upkeep() -> AsyncIterator[MetricUpkeep]:
    async with open_polystore(data_types={"metrics"}) as polystore:
        for upkeep in metric_upkeeps(polystore):
            yield upkeep
            return
        raise UnsupportedError("the routing table sends metrics to a store without rollups")


async def _status() -> RollupStatus:
    async with _upkeep() as upkeep:
        return await upkeep.status()


async def _refresh(since: datetime | None, until: datetime | None) -> Refreshed:
    async with _upkeep() as upkeep:
        return await upkeep.refresh(since, until)


async def _compress() -> Compressed:
    async with _upkeep() as upkeep:
        return await upkeep.compress()


async def _retain(*, dry_run: bool) -> Retained:
    async with _upkeep() as upkeep:
        return await upkeep.retain(dry_run=dry_run)
