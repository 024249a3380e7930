"""`neo-polystore load`: files of the field's own formats go into the platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticError
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, err, fail, print_json, run
from neo_polystore.cli.text import printable
from neo_polystore.errors import PolystoreError, UsageError
from neo_polystore.loaders.base import LoadOptions
from neo_polystore.loaders.jobs import Job, plan
from neo_polystore.loaders.pipeline import LoadReport, Write, run_jobs
from neo_polystore.ops.background import retention_notes
from neo_polystore.polystore import Polystore
from neo_polystore.records.base import Address, problems_of
from neo_polystore.records.query import Query
from neo_polystore.records.scope import Scope
from neo_polystore.settings import Settings

SHOWN_REJECTIONS = 20
"""Rejected records that the table names; --json has all of them."""

Owner = Annotated[
    str | None,
    typer.Option(
        metavar="USER", help="wallets: their owner, by id or user name (the system user)."
    ),
]


def load(
    data_type: Annotated[
        str, typer.Argument(metavar="DATA-TYPE", help="What they hold, e.g. transactions.")
    ],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="gzip is decompressed.")],
    format_name: Annotated[
        str | None, typer.Option("--format", help="Their format, where the content does not tell.")
    ] = None,
    chain_id: Annotated[
        int | None, typer.Option(min=0, help="The chain, where the files do not say it.")
    ] = None,
    service: Annotated[str | None, typer.Option(help="metrics: the service measured.")] = None,
    name: Annotated[
        str | None, typer.Option(metavar="METRIC", help="metrics: the metric (the file's name).")
    ] = None,
    system: Annotated[str | None, typer.Option(help="logs: the system that wrote them.")] = None,
    encoding: Annotated[str | None, typer.Option(help="logs: text encoding (utf-8).")] = None,
    owner: Owner = None,
    network: Annotated[str | None, typer.Option(help="contract_metadata: the network.")] = None,
    address: Annotated[str | None, typer.Option(help="contract_metadata: the address.")] = None,
    table: Annotated[str | None, typer.Option(help="sqlite: the table that holds them.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FIELD", help="sqlite: the field of a column; NAME= leaves it out. Repeat."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Load files. What is stored already is counted, never stored twice.

    Exit code 1 where anything was rejected, after loading the rest.
    """
    try:
        options = LoadOptions(
            chain_id=chain_id,
            service=service,
            name=name,
            system=system,
            encoding=encoding,
            network=network,
            address=_address(address),
            table=table,
            columns=_columns(column or []),
        )
        jobs = plan(data_type, files, options, format_name=format_name)
    except PolystoreError as error:
        raise fail(error) from None
    report = run(_load(data_type, jobs, options, owner))
    if as_json:
        print_json(asdict(report))
    else:
        _show(report)
    if report.rejected:
        raise typer.Exit(1)


async def _load(
    data_type: str, jobs: list[Job], options: LoadOptions, owner: str | None
) -> LoadReport:
    settings = Settings.load()
    scope = settings.scope()
    needed = {"transactions" if data_type == "receipts" else data_type}
    async with open_polystore(
        settings, data_types=needed | ({"accounts"} if owner else set())
    ) as p:
        if owner:
            options = replace(options, owner=await _user(p, owner, scope))
        with _progress(sum(job.size for job in jobs)) as progress:
            report = await run_jobs(
                data_type, jobs, options, _writer(p, data_type, scope), progress=progress
            )
        if data_type == "metrics":
            report.notes += await retention_notes(p)
        return report


def _writer(polystore: Polystore, data_type: str, scope: Scope) -> Write:
    """Where records of a data type go: receipts complete transactions, all else is a record."""
    if data_type == "receipts":
        return polystore.transactions.within(scope).apply_receipts
    return polystore.records(data_type, scope).write


async def _user(polystore: Polystore, owner: str, scope: Scope) -> UUID:
    try:
        return UUID(owner)
    except ValueError:
        query = Query(limit=1).where("username", owner)
        page = await polystore.accounts.within(scope).find(query)
    for user in page.records:
        return user.id
    raise UsageError(f"--owner: there is no user {owner!r}")


def _address(text: str | None) -> str | None:
    try:
        return TypeAdapter(Address | None).validate_python(text)
    except PydanticError as error:
        raise UsageError(f"--address: {problems_of(error)[0].reason}") from None


def _columns(given: list[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise UsageError(f"--column {name}: expected NAME=FIELD, or NAME= to leave it out")
    return {name: field for name, _, field in pairs}


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes read on standard error, on a terminal only; yields what moves it."""
    columns = (TextColumn("loading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("load", total=total)
        yield lambda position: bar.update(task, completed=position)


def _show(report: LoadReport) -> None:
    counts = Table()
    for heading in ("read", "new", "existing", "replaced", "rejected"):
        counts.add_column(heading, justify="right")
    numbers = (report.read, report.new, report.existing, report.replaced, len(report.rejected))
    counts.add_row(*(f"{number:,}" for number in numbers))
    console.print(counts)
    for note in report.notes:
        err.print(f"[yellow]note:[/yellow] {escape(note)}")
    if not report.rejected:
        return
    table = Table(title="Rejected", title_justify="left")
    for heading in ("file", "record", "field", "reason"):
        table.add_column(
            heading, overflow="fold", justify="right" if heading == "record" else "left"
        )
    previous = None
    for item in report.rejected[:SHOWN_REJECTIONS]:
        file = "" if item.file == previous else item.file  # a long path is told once
        cells = (file, str(item.record), item.field, item.reason)
        table.add_row(*(escape(printable(cell)) for cell in cells))
        previous = item.file
    console.print(table)
    if (more := len(report.rejected) - SHOWN_REJECTIONS) > 0:
        console.print(f"... and {more:,} more; --json shows all of them.")
