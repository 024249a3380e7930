"""`neo-polystore retention`: what goes when, letting it go, and what was archived before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.cli.text import printable
from neo_polystore.ops.background import retention_of
from neo_polystore.ports.retention_policy import Rule
from neo_polystore.records.catalog import record_type
from neo_polystore.records.results import Written
from neo_polystore.retention.archive import Part
from neo_polystore.retention.service import Applied, Line

app = typer.Typer(help="What is kept how long, and letting go of the rest.", no_args_is_help=True)
archive = typer.Typer(help="What was written to Parquet before it went.", no_args_is_help=True)
app.add_typer(archive, name="archive")

DataTypes = Annotated[
    list[str] | None, typer.Argument(metavar="[DATA-TYPE]...", help="Only these; else all.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="As `archive list` shows it.")]


@app.command()
def policy(as_json: JsonOption = False) -> None:
    """Show what is kept how long, and where that is said."""
    found = run(_policy())
    if as_json:
        print_json([{**asdict(rule), "age": rule.age and str(rule.age)} for rule in found])
        return
    rows = [
        (r.data_type, r.engine, r.keep, "yes" if r.archive else "", r.source, r.why) for r in found
    ]
    _table(("data type", "engine", "kept", "archived", "says", "note"), rows)


@app.command()
def plan(data_types: DataTypes = None, as_json: JsonOption = False) -> None:
    """Show what would go now, what stays for a hold; changes nothing. 1: not all was counted."""
    _show(run(_plan(data_types)), as_json=as_json)


@app.command()
def apply(
    data_types: DataTypes = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As `plan`: delete nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete what is past its time. Exit code 1 where not all of it could go."""
    if dry_run:
        _show(run(_plan(data_types)), as_json=as_json)
        return
    found = run(_apply(data_types))
    if as_json:
        print_json(asdict(found))
    else:
        rows = [
            (d.data_type, d.outcome, *map(_count, (d.deleted, d.archived, d.held)), d.detail)
            for d in found.done
            if d.outcome != "nothing"
        ]
        if rows:
            _table(("data type", "outcome", "deleted", "archived", "held", "note"), rows)
        else:
            console.print("nothing is past its time")
    if found.failed or any(each.outcome == "busy" for each in found.done):
        raise typer.Exit(1)


@archive.command("list")
def list_archives(
    data_type: Annotated[str | None, typer.Argument(metavar="[DATA-TYPE]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was archived, by file."""
    found = run(_parts(data_type))
    if as_json:
        print_json([asdict(part) for part in found])
        return
    rows = [
        (p.name, _count(p.rows), _count(p.bytes), p.since or "-", p.until or "-") for p in found
    ]
    _table(("name", "rows", "bytes", "since", "until"), rows)


@archive.command()
def show(
    name: Name,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many records.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Print an archive's records, one JSON object a line (a list of them with --json)."""
    found = run(_records(name, limit))
    if as_json:
        print_json(found)
    else:
        for record in found:
            typer.echo(orjson.dumps(record).decode())


@archive.command("load")
def load_archive(name: Name, as_json: JsonOption = False) -> None:
    """Store an archive's records again, each once; they age anew where age counts by arrival.

    Exit code 1 where a record was rejected.
    """
    written = run(_load(name))
    if as_json:
        print_json(asdict(written))
    else:
        console.print(
            f"new: {written.new:,}, there already: {written.existing + written.replaced:,},"
            f" rejected: {len(written.rejected):,}"
        )
        for rejection in written.rejected[:20]:
            console.print(f"  {escape(rejection.field)}: {escape(printable(rejection.reason))}")
    if written.rejected:
        raise typer.Exit(1)


def _show(lines: list[Line], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        rows = [
            (
                line.data_type,
                line.keep,
                _time(line.before),
                _count(line.rows),
                _count(line.held),
                _time(line.oldest),
                ", ".join(map(str, line.holds)),
                "yes" if line.archive else "",
                line.note,
            )
            for line in lines
            if line.mechanism
        ]
        headings = ("data type", "kept", "before", "go", "held", "oldest", "holds", "archived")
        _table((*headings, "note"), rows)
        others = [line.data_type for line in lines if not line.mechanism]
        if others:
            console.print(f"retention never touches {', '.join(others)}: see `policy`")
    if any(line.problem for line in lines):
        raise typer.Exit(1)


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    numeric = {"go", "held", "deleted", "rows", "bytes"}
    table = Table()
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in numeric else "left",
            overflow="fold",
            no_wrap=heading in numeric | {"data type"},
        )
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    console.print(table)


def _time(value: datetime | None) -> str:
    return "-" if value is None else f"{value:%Y-%m-%d %H:%M}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


async def _policy() -> list[Rule]:
    async with open_polystore(data_types={"accounts"}) as polystore:
        return list(polystore.retention.rules.values())


async def _plan(data_types: list[str] | None) -> list[Line]:
    async with open_polystore() as polystore:
        return await retention_of(polystore).plan(data_types or None)


async def _apply(data_types: list[str] | None) -> Applied:
    async with open_polystore() as polystore:
        return await retention_of(polystore).apply(data_types or None, by="cli")


async def _parts(data_type: str | None) -> list[Part]:
    if data_type is not None:
        record_type(data_type)
    async with open_polystore(data_types={"objects", "accounts"}) as polystore:
        return await retention_of(polystore).archive.parts(data_type)


async def _records(name: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with open_polystore(data_types={"objects", "accounts"}) as polystore:
        async for records in retention_of(polystore).archive.records(name):
            found += [orjson.loads(record.model_dump_json(by_alias=True)) for record in records]
            if len(found) >= limit:
                break
    return found[:limit]


async def _load(name: str) -> Written:
    async with open_polystore() as polystore:
        return await retention_of(polystore).load(name)
