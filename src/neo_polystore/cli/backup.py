"""`neo-polystore backup`: make, list, show, prove and prune backups."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.backup import prune as pruning
from neo_polystore.backup import runs
from neo_polystore.backup.manifest import Manifest
from neo_polystore.backup.prune import Rules, Verdict
from neo_polystore.backup.run import Options, run_backup
from neo_polystore.backup.runs import Run
from neo_polystore.backup.session import opened_run, opened_target, proving
from neo_polystore.backup.summary import listed, summary
from neo_polystore.backup.verify import Proof
from neo_polystore.backup.verify import verify as verify_run
from neo_polystore.build import made_stores
from neo_polystore.cli.bar import Bar
from neo_polystore.cli.output import JsonOption, console, err, fail, print_json
from neo_polystore.cli.output import run as run_work
from neo_polystore.errors import UsageError
from neo_polystore.settings import Settings
from neo_polystore.stores.postgres.diagnostics import human_bytes

app = typer.Typer(help="Backups of every store, and proof that they restore.", no_args_is_help=True)

TargetOption = Annotated[
    str | None,
    typer.Option("--target", help="A directory or s3://bucket/prefix; else NEO_BACKUP_TARGET."),
]
StoresOption = Annotated[
    list[str] | None, typer.Option("--store", help="Only this store; may be given several times.")
]
SchemaOption = Annotated[
    str | None, typer.Option("--schema", help="Only this schema of the one store.")
]
RunArgument = Annotated[str | None, typer.Argument(help="The run; by default the newest.")]


@app.command("run")
def make(
    store: StoresOption = None,
    schema: SchemaOption = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on with this run, which was not completed.")
    ] = None,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Back up every store that the routing table says, encrypted where NEO_BACKUP_KEY is set."""
    manifest = run_work(_make(target, Options(stores=store, schema=schema, resume=resume)))
    if as_json:
        print_json(summary(manifest))
        return
    console.print(_stores_table(manifest))
    console.print(f"[green]run {manifest.id} is complete[/green]")


@app.command("list")
def list_(target: TargetOption = None, as_json: JsonOption = False) -> None:
    """Show the runs, newest first, and how old the newest proven one of each store is."""
    found, proven = run_work(_list(target))
    if as_json:
        print_json({"runs": [listed(each) for each in found], "proven": proven})
        return
    console.print(_runs_table(found) if found else "no runs")
    for name, newest in proven.items():
        console.print(f"{name}: " + _proven_line(newest))


@app.command()
def show(run: RunArgument = None, target: TargetOption = None, as_json: JsonOption = False) -> None:
    """Show what a run holds, store by store."""
    manifest = run_work(_show(target, run))
    if as_json:
        print_json(summary(manifest))
    else:
        console.print(_stores_table(manifest))


@app.command()
def verify(
    run: RunArgument = None,
    store: StoresOption = None,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a run into servers made for it, read everything again, compare, store the proof.

    Exit code 1 unless every store of the run is proven.
    """
    proof = run_work(_verify(target, run, store))
    if as_json:
        print_json(proof.as_dict())
    else:
        console.print(_proof_table(proof))
        for name, found in proof.stores.items():
            for problem in found.problems:
                console.print(f"[red]{name}:[/red] {escape(problem)}")
    if not proof.ok:
        raise typer.Exit(1)


@app.command()
def prune(
    daily: Annotated[int, typer.Option(min=0, help="Days that keep their newest run.")] = 7,
    weekly: Annotated[int, typer.Option(min=0, help="Weeks that do.")] = 4,
    monthly: Annotated[int, typer.Option(min=0, help="Months that do.")] = 12,
    least: Annotated[int, typer.Option(min=1, help="Runs that stay in any case.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove runs that no rule keeps."""
    verdicts = run_work(_prune(target, Rules(daily, weekly, monthly, least), dry_run=dry_run))
    if as_json:
        print_json([{"run": v.run.id, "keep": v.keep, "reason": v.reason} for v in verdicts])
        return
    gone = "would go" if dry_run else "gone"
    table = _table("run", "", "size", "why")
    for v in verdicts:
        table.add_row(v.run.id, "kept" if v.keep else gone, human_bytes(v.run.size),
                      escape(v.reason))  # fmt: skip
    console.print(table if verdicts else "no runs")


@app.command()
def extract(
    store: Annotated[str, typer.Argument(help="The store.")],
    stream: Annotated[str, typer.Argument(help="Its stream, such as dump.archive of mongo.")],
    run: Annotated[str | None, typer.Option(help="The run; by default the newest.")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="A new file; else standard output.")
    ] = None,
    target: TargetOption = None,
) -> None:
    """Write one stream of a run, decrypted and verified, for the store's own tools."""
    if to is not None and to.exists():
        raise fail(UsageError(f"{to} exists: nothing is overwritten"))
    if to is None and sys.stdout.isatty():
        raise fail(UsageError("this is no text: name a file with --to, or pipe it"))
    run_work(_extract(target, run, store, stream, to))


async def _make(place: str | None, options: Options) -> Manifest:
    settings = Settings.load()
    async with opened_target(settings, place) as (target, key):
        await asyncio.to_thread(target.check, writing=True)
        async with made_stores(settings) as (routing, stores):
            with Bar(err, "backing up") as bar:
                return await run_backup(
                    stores, routing, target, key=key, options=options, progress=bar
                )


async def _list(place: str | None) -> tuple[list[Run], dict[str, dict[str, Any] | None]]:
    async with opened_target(Settings.load(), place) as (target, key):
        await asyncio.to_thread(target.check, writing=False)
        found = await asyncio.to_thread(lambda: runs.list_runs(target, key=key))
    names = sorted({name for each in found for name in each.stores})
    return found, {name: _newest_proven(found, name) for name in names}


def _newest_proven(found: list[Run], store: str) -> dict[str, Any] | None:
    for each in found:
        if store in each.proven:
            age = datetime.now(UTC) - each.started
            return {"run": each.id, "age_seconds": round(age.total_seconds())}
    return None


async def _show(place: str | None, run: str | None) -> Manifest:
    async with (
        opened_target(Settings.load(), place) as (target, key),
        opened_run(target, key, run) as reader,
    ):
        return reader.manifest


async def _extract(
    place: str | None, run: str | None, store: str, stream: str, to: Path | None
) -> None:
    settings = Settings.load()
    async with opened_target(settings, place) as (target, key), opened_run(target, key, run) as r:
        found = r.store(store)
        if stream not in found.names:
            some = ", ".join(found.names[:5])
            raise UsageError(f"{store} has no stream {stream!r} in this run; it has {some}")
        with nullcontext(sys.stdout.buffer) if to is None else to.open("xb") as file:
            async for piece in found.read(stream):
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(file.flush)


async def _verify(place: str | None, run: str | None, only: list[str] | None) -> Proof:
    settings = Settings.load()
    with Bar(err, "verifying") as bar:
        async with (
            opened_target(settings, place) as (target, key),
            opened_run(target, key, run, advanced=bar.read) as reader,
        ):
            bar.started(reader.manifest.id, sum(
                s.content_bytes for store in reader.manifest.stores for s in store.streams
            ))  # fmt: skip
            async with proving(settings, reader.manifest) as at:
                return await verify_run(
                    reader, target, at.scratch, referenced=at.referenced, only=only
                )


async def _prune(place: str | None, rules: Rules, *, dry_run: bool) -> list[Verdict]:
    async with opened_target(Settings.load(), place) as (target, key):
        await asyncio.to_thread(target.check, writing=not dry_run)
        found = await asyncio.to_thread(lambda: runs.list_runs(target, key=key))
        verdicts = pruning.judge(found, rules, datetime.now(UTC))
        for verdict in verdicts:
            if not verdict.keep and not dry_run:
                await asyncio.to_thread(pruning.remove, target, verdict.run.id)
        return verdicts


def _runs_table(found: list[Run]) -> Table:
    table = _table("run", "age", "size", "rows", "state")
    for each in found:
        state = "complete"
        if each.problem is not None:
            state = f"[red]{escape(each.problem)}[/red]"
        elif not each.complete:
            state = "[yellow]not completed[/yellow]"
        elif each.failed:
            state = f"[red]failed its proof: {', '.join(each.failed)}[/red]"
        elif each.proven:
            state = "[green]proven[/green]"
        age = _age(datetime.now(UTC) - each.started)
        table.add_row(each.id, age, human_bytes(each.size), f"{each.rows:,}", state)
    return table


def _stores_table(manifest: Manifest) -> Table:
    table = _table("store", "rows", "content", "stored", "note")
    for store in sorted(manifest.stores, key=lambda each: each.name):
        note = store.not_saved or (f"within {store.within}" if store.within else "")
        note = "; ".join(filter(None, [note, *(f"{k}: {v}" for k, v in store.excluded.items())]))
        saved = bool(store.streams)
        table.add_row(
            store.name,
            f"{store.rows:,}" if saved else "",
            human_bytes(sum(s.content_bytes for s in store.streams)) if saved else "",
            human_bytes(store.stored_bytes) if saved else "",
            escape(note),
        )
    return table


def _proof_table(proof: Proof) -> Table:
    table = _table("store", "rows", "streams", "compared", "")
    for name, found in proof.stores.items():
        verdict = "[green]proven[/green]" if found.ok else "[red]not proven[/red]"
        table.add_row(
            name, f"{found.rows:,}", str(found.streams), human_bytes(found.bytes), verdict
        )
    return table


def _proven_line(newest: dict[str, Any] | None) -> str:
    if newest is None:
        return "[yellow]no run of it is proven[/yellow]"
    return f"proven in {newest['run']}, {_age(timedelta(seconds=newest['age_seconds']))} old"


def _age(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return (
        f"{age.days} d"
        if hours >= 48
        else f"{hours:.0f} h"
        if hours >= 1
        else (f"{age.total_seconds() / 60:.0f} min")
    )


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        numeric = heading in ("rows", "size", "content", "stored", "streams", "compared", "age")
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    return table
