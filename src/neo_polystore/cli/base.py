"""`neo-polystore backup base|bases|restore-point|restore-points|wal-check|prune-bases`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.backup.prune import Rules, Verdict
from neo_polystore.backup.session import opened_target
from neo_polystore.cli.backup import TargetOption, app
from neo_polystore.cli.bar import Bar
from neo_polystore.cli.output import JsonOption, console, err, print_json
from neo_polystore.cli.output import run as run_work
from neo_polystore.clusters import administrator
from neo_polystore.errors import UsageError
from neo_polystore.pitr import prune as pruning
from neo_polystore.pitr.basebackup import Wish, make_base
from neo_polystore.pitr.bases import Base, Shelf, shelf_of
from neo_polystore.pitr.check import Findings, check_all
from neo_polystore.pitr.points import Point, list_points, make_point
from neo_polystore.settings import Settings
from neo_polystore.stores.postgres.diagnostics import human_bytes


@app.command()
def base(
    full: Annotated[bool, typer.Option("--full", help="A full one in any case.")] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Only what has changed since the last one.")
    ] = False,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back up PostgreSQL's files, from which archived WAL leads to any moment after.

    Incremental where the server can (PostgreSQL 17 and later), full every NEO_BASE_FULL_DAYS.
    """
    if full and incremental:
        raise typer.BadParameter("--full or --incremental, not both")
    made = run_work(_base(target, full=full, incremental=incremental))
    if as_json:
        print_json(made.as_dict())
        return
    console.print(
        f"[green]base backup {made.id} is complete[/green]: {made.positions.kind},"
        f" {human_bytes(made.content_bytes)}, {human_bytes(made.stored_bytes)} stored"
    )


@app.command()
def bases(target: TargetOption = None, as_json: JsonOption = False) -> None:
    """Show the base backups, newest first, and what each builds on."""
    shelf = run_work(_shelf(target))
    if as_json:
        print_json([_described(shelf, run.id) for run in shelf.runs])
        return
    table = Table()
    for heading in ("base backup", "kind", "builds on", "consistent at", "timeline", "stored", ""):
        table.add_column(heading, overflow="fold")
    for run in shelf.runs:
        found = shelf.bases.get(run.id)
        if found is None:
            table.add_row(run.id, "", "", "", "", human_bytes(run.size),
                          f"[red]{escape(shelf.problem(run.id))}[/red]")  # fmt: skip
            continue
        where = found.positions
        table.add_row(run.id, where.kind, where.parent or "", _moment(where.consistent_at),
                      str(where.timeline), human_bytes(run.size), "")  # fmt: skip
    console.print(table if shelf.runs else "no base backups")


@app.command("restore-point")
def restore_point(
    name: Annotated[str, typer.Argument(help="Up to 63 letters, digits, `_`, `.` and `-`.")],
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark this moment, to come back to it by `restore --to-name`; returns when it is archived."""
    point = run_work(_point(target, name))
    if as_json:
        print_json(point.model_dump(mode="json"))
    else:
        console.print(f"[green]restore point {point.name}[/green] of {_moment(point.made)}")


@app.command("restore-points")
def restore_points(target: TargetOption = None, as_json: JsonOption = False) -> None:
    """Show the restore points, newest first."""
    points = run_work(_points(target))
    if as_json:
        print_json([point.model_dump(mode="json") for point in points])
        return
    for point in points:
        console.print(f"{_moment(point.made)}  {point.name} (timeline {point.timeline})")
    if not points:
        console.print("no restore points")


@app.command("wal-check")
def wal_check(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file and check its digest.")
    ] = False,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for holes in the archived WAL; exit code 1 where there are any."""
    found = run_work(_check(target, deep=deep))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        for each in found:
            _print(each)
        if not found:
            console.print("no WAL is archived here")
    if not all(each.ok for each in found):
        raise typer.Exit(1)


@app.command("prune-bases")
def prune_bases(
    daily: Annotated[int, typer.Option(min=0, help="Days that keep their newest one.")] = 7,
    weekly: Annotated[int, typer.Option(min=0, help="Weeks that do.")] = 4,
    monthly: Annotated[int, typer.Option(min=0, help="Months that do.")] = 12,
    least: Annotated[int, typer.Option(min=1, help="How many stay in any case.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove base backups that no rule keeps, and the WAL that none of the others needs."""
    rules = Rules(daily, weekly, monthly, least)
    verdicts, wal = run_work(_prune(target, rules, dry_run=dry_run))
    if as_json:
        print_json(
            {
                "bases": [{"base": v.run.id, "keep": v.keep, "reason": v.reason} for v in verdicts],
                "wal": [{"system": w.system, "files": len(w.names), "bytes": w.bytes} for w in wal],
            }
        )
        return
    gone = "would go" if dry_run else "gone"
    for v in verdicts:
        console.print(f"{v.run.id}  {'kept' if v.keep else gone}: {escape(v.reason)}")
    for removal in wal:
        if removal.names:
            console.print(
                f"WAL of {removal.system}: {len(removal.names)} files,"
                f" {human_bytes(removal.bytes)} {gone}"
            )
    if not verdicts:
        console.print("no base backups")


async def _base(place: str | None, *, full: bool, incremental: bool) -> Base:
    settings = Settings.load()
    wish = Wish(
        kind="full" if full else "incremental" if incremental else None,
        full_after=timedelta(days=settings.neo_base_full_days),
    )
    async with (
        opened_target(settings, place) as (target, key),
        administrator(settings) as admin,
    ):
        with Bar(err, "base backup") as bar:
            return await make_base(admin, target, key=key, wish=wish, progress=bar)


async def _shelf(place: str | None) -> Shelf:
    async with opened_target(Settings.load(), place) as (target, key):
        await asyncio.to_thread(target.check, writing=False)
        return await asyncio.to_thread(shelf_of, target, key)


async def _point(place: str | None, name: str) -> Point:
    settings = Settings.load()
    async with (
        opened_target(settings, place) as (target, key),
        administrator(settings) as admin,
    ):
        return await make_point(admin, target, name, key=key)


async def _points(place: str | None) -> list[Point]:
    async with opened_target(Settings.load(), place) as (target, _):
        await asyncio.to_thread(target.check, writing=False)
        return await asyncio.to_thread(list_points, target)


async def _check(place: str | None, *, deep: bool) -> list[Findings]:
    async with opened_target(Settings.load(), place) as (target, key):
        return await check_all(target, key, deep=deep)


async def _prune(
    place: str | None, rules: Rules, *, dry_run: bool
) -> tuple[list[Verdict], list[pruning.Removal]]:
    async with opened_target(Settings.load(), place) as (target, key):
        await asyncio.to_thread(target.check, writing=not dry_run)
        shelf = await asyncio.to_thread(shelf_of, target, key)
        verdicts = pruning.judge(shelf, rules, datetime.now(UTC))
        wal = await asyncio.to_thread(pruning.unneeded, target, key, shelf, verdicts)
        if not dry_run:
            await asyncio.to_thread(pruning.remove, target, key, verdicts, wal)
        return verdicts, wal


def _described(shelf: Shelf, run: str) -> dict[str, Any]:
    found = shelf.bases.get(run)
    return found.as_dict() if found else {"base": run, "problem": shelf.problem(run)}


def _print(found: Findings) -> None:
    console.print(
        f"cluster {found.system}: {found.segments} segments, {human_bytes(found.bytes)},"
        f" timelines {', '.join(map(str, found.timelines))}, up to {found.newest or '-'}"
    )
    for hole in found.holes:
        console.print(f"[red]hole:[/red] {hole.count} segments from {hole.first} to {hole.last}")
    for name, reason in found.damaged.items():
        console.print(f"[red]damaged:[/red] {name}: {escape(reason)}")
    for problem in found.problems:
        console.print(f"[red]{escape(problem)}[/red]")
    for name, leads in found.bases.items():
        state = "[green]leads to the newest WAL[/green]" if leads else "[red]leads nowhere[/red]"
        console.print(f"  {name} {state}")


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(text: str) -> datetime:
    """A time with its zone; UsageError for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time: one is 2026-01-31T12:00:00Z") from None
    if found.tzinfo is None:
        raise UsageError(f"{text} needs its zone, such as {text}Z or {text}+01:00")
    return found
