"""`neo-polystore db`: seed and clear."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.db.options import DryRun, OneStore
from neo_polystore.cli.output import JsonOption, console, fail, print_json, run
from neo_polystore.errors import PolystoreError, UsageError
from neo_polystore.ops.migrate import clear_all
from neo_polystore.ops.seed import Seeded
from neo_polystore.ops.seed import seed as write_samples
from neo_polystore.ports.store import Cleared
from neo_polystore.settings import Settings


def seed(
    force: Annotated[bool, typer.Option("--force", help="In the server profile too.")] = False,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Write the samples of every data type. A second time changes nothing."""
    settings = _settings()
    if settings.neo_profile == "server" and not force and not dry_run:
        raise fail(
            UsageError(
                "samples do not belong on a server that others use: say --force where they do"
            )
        )
    lines = run(_seed(settings, dry_run=dry_run))
    if as_json:
        print_json([asdict(line) for line in lines])
    else:
        _show_seeded(lines)
    if any(line.rejected for line in lines):
        raise typer.Exit(1)


def clear(
    force: Annotated[bool, typer.Option("--force", help="Really remove every row.")] = False,
    store: OneStore = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Remove every row of this installation; schemas and what migrations put in stay.

    In the server profile it also takes NEO_ALLOW_CLEAR=true.
    """
    settings = _settings()
    if not dry_run:
        if not force:
            raise fail(UsageError("this removes every row: look with --dry-run, then say --force"))
        if settings.neo_profile == "server" and not settings.neo_allow_clear:
            raise fail(
                UsageError(
                    "the server profile is not cleared, with --force or without: set"
                    " NEO_ALLOW_CLEAR=true for an installation whose data nobody needs"
                )
            )
    found = run(_clear(settings, store, dry_run=dry_run))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        _show_cleared(found, dry_run=dry_run)


def _settings() -> Settings:
    try:
        return Settings.load()
    except PolystoreError as error:
        raise fail(error) from None


async def _seed(settings: Settings, *, dry_run: bool) -> list[Seeded]:
    async with open_polystore(settings) as polystore:
        return await write_samples(polystore, settings.scope(), dry_run=dry_run)


async def _clear(settings: Settings, store: str | None, *, dry_run: bool) -> list[Cleared]:
    async with open_polystore(settings) as polystore:
        return await clear_all(polystore, dry_run=dry_run, store=store)


def _show_seeded(lines: list[Seeded]) -> None:
    table = Table(title="Samples", title_justify="left")
    table.add_column("data type")
    table.add_column("store")
    for heading in ("samples", "new", "existing", "rejected"):
        table.add_column(heading, justify="right")
    for line in lines:
        numbers = (line.samples, line.new, line.existing, line.rejected)
        table.add_row(line.data_type, line.store, *map(str, numbers))
    console.print(table)


def _show_cleared(found: list[Cleared], *, dry_run: bool) -> None:
    title = "Rows that would be removed" if dry_run else "Rows removed"
    table = Table(title=title, title_justify="left")
    table.add_column("store")
    table.add_column("table", overflow="fold")
    table.add_column("rows", justify="right")
    for each in found:
        if each.not_applicable:
            table.add_row(each.store, f"- ({escape(each.not_applicable)})", "-")
        held = {name: rows for name, rows in each.rows.items() if rows}
        for name, rows in held.items():
            table.add_row(each.store, escape(name), f"{rows:,}")
        if empty := len(each.rows) - len(held):
            table.add_row(each.store, f"({empty} empty)", "0")
    console.print(table)
