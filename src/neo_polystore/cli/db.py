"""`neo-polystore db`: schema versions of every store."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.ops.migrate import migrate_all
from neo_polystore.ports.store import MigrationReport

app = typer.Typer(help="Schema versions of every store.", no_args_is_help=True)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Report what is pending, change nothing.")]


@app.command()
def migrate(dry_run: DryRun = False, as_json: JsonOption = False) -> None:
    """Bring every store's schema up to date."""
    _show(run(_migrate(dry_run=dry_run)), as_json=as_json)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show what is applied and what is pending. Exit code 1 where anything is."""
    reports = run(_migrate(dry_run=True))
    _show(reports, as_json=as_json)
    if any(report.pending or report.problems for report in reports):
        raise typer.Exit(1)


async def _migrate(*, dry_run: bool) -> list[MigrationReport]:
    async with open_polystore(migrate=False, tolerant=True) as polystore:
        return await migrate_all(polystore, dry_run=dry_run)


def _show(reports: list[MigrationReport], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(report) for report in reports])
        return
    table = Table(title="Schemas", title_justify="left")
    for heading in ("store", "current", "applied now", "pending", "problems"):
        table.add_column(heading, overflow="fold")
    for report in reports:
        table.add_row(
            report.store,
            report.current or (f"- ({report.not_applicable})" if report.not_applicable else "none"),
            ", ".join(report.applied) or "-",
            ", ".join(report.pending) or "-",
            "; ".join(report.problems) or "-",
        )
    console.print(table)
