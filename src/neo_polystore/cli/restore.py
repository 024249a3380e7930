"""`neo-polystore restore`: what a restore would do, and doing it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.backup.restore import Restored, Step, execute
from neo_polystore.backup.restore import plan as plan_steps
from neo_polystore.backup.session import opened_run, opened_target
from neo_polystore.build import made_stores
from neo_polystore.cli.backup import RunArgument, SchemaOption, StoresOption, TargetOption
from neo_polystore.cli.bar import Bar
from neo_polystore.cli.output import JsonOption, console, err, print_json
from neo_polystore.cli.output import run as run_work
from neo_polystore.settings import Settings
from neo_polystore.stores.postgres.diagnostics import human_bytes

app = typer.Typer(help="Bring stores back from a backup.", no_args_is_help=True)


@app.command()
def plan(
    run: RunArgument = None,
    store: StoresOption = None,
    schema: SchemaOption = None,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what would be restored, to where, and what stands in the way; touches nothing."""
    steps = run_work(_plan(target, run, store, schema))
    if as_json:
        print_json([asdict(step) for step in steps])
    else:
        console.print(_steps_table(steps))


@app.command("run")
def restore(
    run: RunArgument = None,
    store: StoresOption = None,
    schema: SchemaOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Remove what is in the targets first.")
    ] = False,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore all stores of a run, one store, or one schema of it into this installation.

    Stop the platform first. Refuses targets that are not empty, unless --force is given. What the
    outbox had not delivered to every store by the time of the backup is delivered again.
    """
    done = run_work(_restore(target, run, store, schema, force=force))
    if as_json:
        print_json([asdict(each) for each in done])
        return
    for each in done:
        console.print(f"{each.store}: {sum(each.rows.values()):,} rows in {escape(each.place)}")


async def _plan(
    place: str | None, run: str | None, only: list[str] | None, schema: str | None
) -> list[Step]:
    settings = Settings.load()
    async with (
        opened_target(settings, place) as (target, key),
        opened_run(target, key, run) as reader,
        made_stores(settings) as (_, stores),
    ):
        return await plan_steps(reader, stores, only=only, schema=schema)


async def _restore(
    place: str | None,
    run: str | None,
    only: list[str] | None,
    schema: str | None,
    *,
    force: bool,
) -> list[Restored]:
    settings = Settings.load()
    with Bar(err, "restoring") as bar:
        async with (
            opened_target(settings, place) as (target, key),
            opened_run(target, key, run, advanced=bar.read) as reader,
            made_stores(settings) as (_, stores),
        ):
            steps = await plan_steps(reader, stores, only=only, schema=schema)
            bar.started(reader.manifest.id, sum(step.content_bytes for step in steps))
            return await execute(reader, stores, steps, force=force)


def _steps_table(steps: list[Step]) -> Table:
    table = Table()
    for heading in ("store", "to", "rows", "size", "in the way"):
        table.add_column(heading, justify="right" if heading in ("rows", "size") else "left",
                         overflow="fold")  # fmt: skip
    for step in steps:
        name = f"{step.store} ({step.source}.{step.schema})" if step.schema else step.store
        table.add_row(
            name,
            escape(step.place),
            f"{step.rows:,}",
            human_bytes(step.content_bytes),
            escape(step.occupied or ""),
        )
    return table
