"""`neo-polystore audit`: record, search, export and verify the audit trail of one tenant."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import ValidationError as PydanticError
from rich.markup import escape
from rich.table import Table

from neo_polystore.audit.export import Format, export
from neo_polystore.audit.linking import link_missing
from neo_polystore.audit.search import AuditSearch
from neo_polystore.audit.trail import GRACE, AuditTrail
from neo_polystore.audit.verification import DayVerdict
from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, err, fail, print_json, run
from neo_polystore.cli.text import cell
from neo_polystore.errors import UsageError, ValidationError
from neo_polystore.polystore import Polystore
from neo_polystore.records.base import problems_of
from neo_polystore.records.scope import Scope
from neo_polystore.settings import Settings

app = typer.Typer(
    help="Who did what to which resource, and whether the record of it is whole.",
    no_args_is_help=True,
)

Tenant = Annotated[UUID | None, typer.Option(help="Whose trail; by default this installation's.")]
Actor = Annotated[str | None, typer.Option(help="Who did it.")]
ActionOption = Annotated[str | None, typer.Option(help="CREATE, READ, UPDATE, DELETE or EXECUTE.")]
Resource = Annotated[str | None, typer.Option(help="What it was done to.")]
ResourceId = Annotated[str | None, typer.Option(help="Which one.")]
Since = Annotated[str | None, typer.Option(help="From this time on (ISO 8601, or 24h).")]
Until = Annotated[str | None, typer.Option(help="Before this time.")]
Text = Annotated[str | None, typer.Option(metavar="WORDS", help="All of these words.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])]

_COLUMNS = {
    "timestamp": "time",
    "user_id": "user",
    "action": "action",
    "resource": "resource",
    "resource_id": "which",
    "success": "done",
    "changes": "changes",
}


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Polystore, Settings]]:
    """The facade with what the trail takes."""
    settings = Settings.load()
    async with open_polystore(settings, data_types={"audit_logs", "sealed"}) as polystore:
        yield polystore, settings


@asynccontextmanager
async def trail_of(tenant: UUID | None) -> AsyncIterator[AuditTrail]:
    """The trail of a tenant."""
    async with opened() as (polystore, settings):
        yield polystore.audit.within(Scope(tenant) if tenant else settings.scope())


@app.command()
def record(
    action: Annotated[str, typer.Argument(help="CREATE, READ, UPDATE, DELETE or EXECUTE.")],
    resource: Annotated[str, typer.Argument(help="What it was done to, e.g. wallet.")],
    resource_id: Annotated[str | None, typer.Argument(help="Which one.")] = None,
    actor: Actor = None,
    failed: Annotated[str | None, typer.Option(metavar="WHY", help="It failed, and why.")] = None,
    tenant: Tenant = None,
    as_json: JsonOption = False,
) -> None:
    """Record that somebody did something by hand."""

    async def work() -> dict[str, Any]:
        async with trail_of(tenant) as trail:
            untyped: Any = action.upper()
            done = await trail.record(
                untyped,
                resource,
                resource_id,
                actor=actor,
                error=failed,
            )
            return asdict(done)

    done = run(work())
    if as_json:
        print_json(done)
    else:
        console.print(f"recorded {done['id']} ({done['consistency']})")


@app.command()
def search(
    actor: Actor = None,
    action: ActionOption = None,
    resource: Resource = None,
    resource_id: ResourceId = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="The next page.")] = None,
    tenant: Tenant = None,
    as_json: JsonOption = False,
) -> None:
    """Show entries, newest first."""
    asked = _search(
        actor=actor,
        action=action and action.upper(),
        resource=resource,
        resource_id=resource_id,
        since=since,
        until=until,
        text=text,
        limit=limit,
        after=after,
    )

    async def work() -> tuple[list[dict[str, Any]], str | None]:
        async with trail_of(tenant) as trail:
            page = await trail.find(asked.query())
            return [entry.body() for entry in page.records], page.next

    entries, following = run(work())
    if as_json:
        print_json({"entries": entries, "next": following})
        return
    if not entries:
        console.print("no entries")
        return
    table = Table()
    for heading in _COLUMNS.values():
        table.add_column(heading, overflow="fold")
    for body in entries:
        table.add_row(*(escape(cell(body.get(name))) for name in _COLUMNS))
    console.print(table)
    if following:
        console.print(f"[dim]more: --after {following}[/dim]")


@app.command("export")
def export_command(
    target: Annotated[
        Path | None, typer.Argument(help="A new file; none: standard output.")
    ] = None,
    form: Annotated[Format, typer.Option("--format")] = "ndjson",
    actor: Actor = None,
    action: ActionOption = None,
    resource: Resource = None,
    since: Since = None,
    until: Until = None,
    tenant: Tenant = None,
) -> None:
    """Write all entries that fit, oldest first."""
    asked = _search(
        actor=actor,
        action=action and action.upper(),
        resource=resource,
        since=since,
        until=until,
        oldest_first=True,
    )
    if target is not None and target.exists():
        raise fail(UsageError(f"{target} exists already"))
    count = run(_export(target, form, asked, tenant))
    err.print(f"{count:,} entries")


async def _export(
    target: Path | None, form: Format, asked: AuditSearch, tenant: UUID | None
) -> int:
    lines = -(form == "csv")
    out = sys.stdout.buffer if target is None else target.open("xb")
    try:
        async with trail_of(tenant) as trail:
            async for line in export(trail.each(asked.query()), format=form):
                out.write(line)
                lines += 1
        out.flush()
    finally:
        if target is not None:
            out.close()
    return lines


@app.command()
def verify(
    first: Day = None,
    last: Day = None,
    tenant: Tenant = None,
    as_json: JsonOption = False,
) -> None:
    """Compare every entry with its link, and every chain with itself. Exit code 1: not sound."""

    async def work() -> list[DayVerdict]:
        async with trail_of(tenant) as trail:
            bounds = {
                "first": None if first is None else first.date(),
                "last": None if last is None else last.date(),
            }
            return [verdict async for verdict in trail.verify(**bounds)]

    days = run(work())
    sound = all(day.is_sound for day in days)
    if as_json:
        print_json({"sound": sound, "days": [asdict(day) for day in days]})
    else:
        _show_verdicts(days)
    if not sound:
        raise typer.Exit(1)


@app.command()
def link(
    since: Annotated[str, typer.Option(help="Entries from this time on.")] = "7d",
    as_json: JsonOption = False,
) -> None:
    """Link entries that were stored without (a job does so every five minutes)."""
    start = _search(since=since).query().since

    async def work() -> dict[str, int]:
        until = datetime.now(UTC) - GRACE
        async with opened() as (polystore, _):
            trail = polystore.audit
            return await link_missing(
                trail.documents, trail.chains, since=start or until - timedelta(days=7), until=until
            )

    found = run(work())
    if as_json:
        print_json({"linked": found})
    else:
        console.print(f"linked {sum(found.values()):,} entries of {len(found):,} tenants")


def _search(**asked: Any) -> AuditSearch:
    try:
        return AuditSearch(**asked)
    except PydanticError as error:
        raise fail(ValidationError(problems_of(error), operation="audit search")) from None


def _show_verdicts(days: list[DayVerdict]) -> None:
    table = Table()
    table.add_column("day")
    for heading in ("entries", "links", "waiting", "problems"):
        table.add_column(heading, justify="right")
    for day in days:
        style = None if day.is_sound else "red"
        figures = (day.entries, day.links, day.waiting, day.problems)
        table.add_row(str(day.day), *(f"{figure:,}" for figure in figures), style=style)
    console.print(table if days else "no entries")
    for day in days:
        for finding in day.findings:
            about = f" {finding.entry}" if finding.entry else ""
            line = f"{day.day} {finding.kind}{about}: {finding.detail}"
            console.print(f"[red]{escape(cell(line))}[/red]")
    if days and all(day.is_sound for day in days):
        console.print("every entry is as it was linked, every chain is whole")
