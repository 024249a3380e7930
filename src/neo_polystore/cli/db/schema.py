"""`neo-polystore db`: migrate, status, rollback, script, validate, new."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.db.options import DryRun, OneStore
from neo_polystore.cli.output import JsonOption, console, err, fail, print_json, run
from neo_polystore.errors import ConfigError, PolystoreError
from neo_polystore.ops import migrate as ops
from neo_polystore.ops.revisions import new_revision
from neo_polystore.ports.store import MigrationReport, Script, Validation
from neo_polystore.routing import load_routing
from neo_polystore.settings import Settings

After = Annotated[
    str | None, typer.Option(metavar="REVISION", help="Only what comes after this revision.")
]


def migrate(store: OneStore = None, dry_run: DryRun = False, as_json: JsonOption = False) -> None:
    """Bring every store's schema up to date."""
    _show(run(_migrate(store, dry_run=dry_run)), as_json=as_json)


def status(store: OneStore = None, as_json: JsonOption = False) -> None:
    """Show what is applied and what is pending. Exit code 1 where anything is."""
    reports = run(_migrate(store, dry_run=True))
    _show(reports, as_json=as_json)
    if any(report.pending or report.problems for report in reports):
        raise typer.Exit(1)


def rollback(
    to: Annotated[
        str | None,
        typer.Option(metavar="REVISION", help="Keep up to this one; `base` keeps none."),
    ] = None,
    store: Annotated[str, typer.Option("--store", metavar="NAME", help="Which store.")] = (
        "postgres"
    ),
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Take back the last revision of one store, or every one after --to, rows and all."""
    report = run(_rollback(store, to, dry_run=dry_run))
    if as_json:
        print_json(asdict(report))
    elif report.not_applicable:
        err.print(f"{report.store}: nothing to take back: {escape(report.not_applicable)}")
    elif not report.undone:
        console.print(f"{report.store}: nothing to take back, at {report.current or 'base'}")
    else:
        verb = "would take back" if dry_run else "took back"
        console.print(f"{report.store}: {verb} {', '.join(report.undone)}")
        if not dry_run:
            console.print(f"now at {report.current or 'base'}")


def script(
    store: Annotated[str, typer.Option("--store", metavar="NAME", help="Which store.")] = (
        "postgres"
    ),
    after: After = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what the revisions would run, from the files alone, for somebody to read and run."""
    try:
        settings = Settings.load()
        routing = load_routing(
            settings.neo_profile, settings.neo_routing, addressed=settings.addressed
        )
        found = ops.scripts(routing, store=store, after=after)
        if output is not None:
            _write(output, "\n".join(each.text for each in found if each.text))
    except PolystoreError as error:
        raise fail(error) from None
    if as_json:
        print_json([asdict(each) for each in found])
    elif output is None:
        for each in found:
            typer.echo(_text(each))
    else:
        err.print(f"written to {escape(str(output))}")


def validate(
    store: OneStore = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Every fact that was checked.")] = (
        False
    ),
    as_json: JsonOption = False,
) -> None:
    """Check that files, what is applied and the live schemas agree. Exit code 1 where not."""
    found = run(_validate(store))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        for each in found:
            _judge(each, verbose=verbose)
    if any(each.problems for each in found):
        raise typer.Exit(1)


def new(
    name: Annotated[str, typer.Argument(help="What it does, e.g. add_wallet_labels.")],
    environment: Annotated[
        str, typer.Option(metavar="NAME", help="A folder of migrations/.")
    ] = "primary",
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Write the template of a new revision, behind the newest one."""
    try:
        path, text = new_revision(environment, name, dry_run=dry_run)
    except PolystoreError as error:
        raise fail(error) from None
    if as_json:
        print_json({"path": str(path), "text": text, "written": not dry_run})
    else:
        typer.echo(text if dry_run else str(path))


async def _migrate(store: str | None, *, dry_run: bool) -> list[MigrationReport]:
    async with open_polystore(migrate=False, tolerant=True) as polystore:
        return await ops.migrate_all(polystore, dry_run=dry_run, store=store)


async def _rollback(store: str, to: str | None, *, dry_run: bool) -> MigrationReport:
    async with open_polystore(migrate=False, tolerant=True) as polystore:
        return await ops.rollback(polystore, store, to=to, dry_run=dry_run)


async def _validate(store: str | None) -> list[Validation]:
    async with open_polystore(migrate=False, tolerant=True) as polystore:
        return await ops.validate_all(polystore, store=store)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _text(found: Script) -> str:
    return found.text or f"-- {found.store}: nothing to run: {found.not_applicable}\n"


def _judge(found: Validation, *, verbose: bool) -> None:
    if found.not_applicable:
        console.print(f"[dim]{found.store}: nothing to check: {escape(found.not_applicable)}[/dim]")
        return
    verdict = "[red]differs[/red]" if found.problems else "[green]agrees[/green]"
    console.print(f"{found.store}: {verdict}")
    for line in found.checked if verbose else ():
        console.print(f"  checked  {escape(line)}", soft_wrap=True)
    for line in found.unchecked:
        console.print(f"  [yellow]not checked[/yellow]  {escape(line)}", soft_wrap=True)
    for line in found.problems:
        console.print(f"  [red]problem[/red]  {escape(line)}", soft_wrap=True)


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
