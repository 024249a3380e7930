"""`neo-polystore hold`: legal holds, which retention minds."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.cli.text import printable
from neo_polystore.ops.background import holding_of, operational
from neo_polystore.ports.holds import Hold, HoldDraft
from neo_polystore.retention.holding import Placed

app = typer.Typer(help="Legal holds: what must not be deleted.", no_args_is_help=True)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
Moment = Annotated[datetime | None, typer.Option(formats=_FORMATS, help="A time in UTC.")]
Reason = Annotated[str, typer.Option(help="Why; stays on record.")]


@app.command()
def add(
    reason: Reason,
    data_types: Annotated[
        list[str] | None, typer.Argument(metavar="[DATA-TYPE]...", help="None: with --tenant, all.")
    ] = None,
    tenant: Annotated[UUID | None, typer.Option(help="Of this tenant.")] = None,
    key: Annotated[str | None, typer.Option(help="The record with this key.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="field=value as in `query`; all of them hold.")
    ] = None,
    since: Moment = None,
    until: Moment = None,
    text: Annotated[str | None, typer.Option(help="Having all of these words.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold records. Nothing that a hold covers is deleted from the moment this command ends."""
    wanted = HoldDraft(
        tuple(data_types or ()),
        reason,
        getpass.getuser(),
        tenant,
        key,
        tuple(where or ()),
        _utc(since),
        _utc(until),
        text,
    )
    placed = run(_add(wanted))
    if as_json:
        print_json(asdict(placed))
        return
    for name, count in placed.covers.items():
        console.print(f"{name}: {'all records' if count is None else f'{count:,} records now'}")
    console.print(f"hold {placed.hold.id} is in force")


@app.command("list")
def list_holds(
    released: Annotated[bool, typer.Option("--all", help="Released ones, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show holds, the newest first."""
    found = run(_find(released))
    if as_json:
        print_json([asdict(hold) for hold in found])
        return
    table = Table(title="Holds (times in UTC)", title_justify="left")
    for heading in ("id", "data types", "what", "reason", "by", "in force", "released"):
        table.add_column(heading, overflow="fold")
    for hold in found:
        cells = (", ".join(hold.data_types), _what(hold), hold.reason, hold.added_by)
        ended = f"{_time(hold.released_at)} {hold.release_reason or ''}".strip()
        times = (_time(hold.in_force_at), ended)
        table.add_row(str(hold.id), *(escape(printable(cell)) for cell in (*cells, *times)))
    console.print(table)


@app.command()
def release(
    hold: Annotated[int, typer.Argument(min=1, metavar="ID")],
    reason: Reason,
    as_json: JsonOption = False,
) -> None:
    """Release a hold; it stays on record."""
    found = run(_release(hold, reason))
    if as_json:
        print_json(asdict(found))
    else:
        console.print(f"hold {found.id} is released")


def _what(hold: Hold) -> str:
    named = {"tenant": hold.tenant, "key": hold.key, "since": hold.since, "until": hold.until}
    parts = [f"{name} {value}" for name, value in named.items() if value is not None]
    words = [f"text {hold.words}"] if hold.words else []
    return ", ".join([*parts, *hold.conditions, *words]) or "everything"


def _time(value: datetime | None) -> str:
    return "-" if value is None else f"{value:%Y-%m-%d %H:%M}"


def _utc(value: datetime | None) -> datetime | None:
    return None if value is None else value.replace(tzinfo=UTC)


async def _add(wanted: HoldDraft) -> Placed:
    async with open_polystore() as polystore:
        return await holding_of(polystore).add(wanted)


async def _find(released: bool) -> Sequence[Hold]:
    async with open_polystore(data_types={"accounts"}) as polystore:
        return await operational(polystore).holds.find(released=released)


async def _release(hold: int, reason: str) -> Hold:
    async with open_polystore() as polystore:
        return await holding_of(polystore).release(hold, by=getpass.getuser(), reason=reason)
