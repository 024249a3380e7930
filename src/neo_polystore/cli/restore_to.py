"""`neo-polystore restore --to|--to-name`: PostgreSQL back to a moment, and into its old place."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from neo_polystore.addresses import client_programs
from neo_polystore.backup.session import opened_target
from neo_polystore.cli.backup import TargetOption
from neo_polystore.cli.bar import Bar
from neo_polystore.cli.base import moment
from neo_polystore.cli.output import JsonOption, console, err, fail, print_json
from neo_polystore.cli.output import run as run_work
from neo_polystore.cli.restore import app
from neo_polystore.clusters import embedded_home, recovered, replace_embedded
from neo_polystore.errors import ConflictError, PolystoreError
from neo_polystore.pitr.access import access_of
from neo_polystore.pitr.archive import WalArchive, system_of
from neo_polystore.pitr.plan import Goal, Plan, make_plan
from neo_polystore.pitr.restore import Recovered, claim_timeline, shut_down
from neo_polystore.pitr.restore import restore as carry_out
from neo_polystore.settings import Settings
from neo_polystore.stores.postgres.diagnostics import human_bytes


@app.callback(invoke_without_command=True)
def to_moment(
    context: typer.Context,
    to: Annotated[
        str | None, typer.Option("--to", help="A time with its zone, or `latest`.")
    ] = None,
    to_name: Annotated[str | None, typer.Option("--to-name", help="A restore point.")] = None,
    into: Annotated[
        Path | None, typer.Option("--into", help="The new data directory of PostgreSQL.")
    ] = None,
    timeline: Annotated[
        int | None, typer.Option(min=1, help="Of the archive; by default its newest.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Begin with this base backup; by default the last before.")
    ] = None,
    only_plan: Annotated[bool, typer.Option("--plan", help="Only show what it would do.")] = False,
    despite_holes: Annotated[
        bool, typer.Option("--despite-holes", help="Go as far as a hole in WAL allows.")
    ] = False,
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring stores back from a backup; with --to or --to-name PostgreSQL back to a moment.

    That makes a new data directory, by default beside the embedded one; `restore adopt` puts it
    in the place of that.
    """
    if context.invoked_subcommand is not None:
        return
    if (to is None) == (to_name is None):
        raise typer.BadParameter("--to or --to-name, or a command: plan, run, adopt")
    try:
        goal = Goal(
            time=moment(to) if to not in (None, "latest") else None,
            point=to_name,
            timeline=timeline,
            base=base,
            despite_holes=despite_holes,
        )
    except PolystoreError as error:
        raise fail(error) from None
    plan, done = run_work(_restore(target, goal, into, only_plan=only_plan))
    if as_json:
        print_json({**plan.as_dict(), "done": _described(done) if done else None})
        return
    for each in plan.chain:
        console.print(f"{each.positions.kind} base backup {each.id},"
                      f" {human_bytes(each.content_bytes)}")  # fmt: skip
    console.print(f"WAL of timeline {', '.join(str(s.timeline) for s in plan.way)}")
    if done is not None:
        console.print(f"[green]recovered[/green] into {done.directory}, timeline {done.timeline}:"
                      f" {escape(done.reached)}", soft_wrap=True)  # fmt: skip
        console.print("`neo-polystore restore adopt DIRECTORY` puts it in the embedded one's place")


@app.command()
def adopt(
    directory: Annotated[Path, typer.Argument(help="What `restore --to` has made.")],
    target: TargetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a recovered data directory in the place of the embedded PostgreSQL, which is kept aside.

    The platform must not run. The new timeline is archived first, where WAL is archived.
    """
    histories, aside = run_work(_adopt(directory.absolute(), target))
    if as_json:
        print_json({"histories": histories, "aside": aside})
        return
    console.print("[green]adopted[/green]; make a base backup after the next start")
    if aside is not None:
        console.print(f"what was there before is in {aside}", soft_wrap=True)


def _described(done: Recovered) -> dict[str, object]:
    return {"directory": done.directory, "timeline": done.timeline, "reached": done.reached}


async def _restore(
    place: str | None, goal: Goal, into: Path | None, *, only_plan: bool
) -> tuple[Plan, Recovered | None]:
    settings = Settings.load()
    access = access_of(settings, place)
    if into is None:
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        into = embedded_home(settings).with_name(f"postgres.restored-{stamp}")

    async def recover(data: Path, wanted: Mapping[str, str]) -> str:
        return await recovered(settings, data, access=access, target=wanted)

    async with opened_target(settings, place) as (target, key):
        plan = await make_plan(target, key, goal)
        if only_plan:
            return plan, None
        with Bar(err, "restoring") as bar:
            bar.started(plan.base.id, plan.content_bytes)
            done = await carry_out(
                target,
                plan,
                into.absolute(),
                key=key,
                programs=client_programs(settings),
                recover=recover,
                advanced=bar.read,
            )
    return plan, done


async def _adopt(directory: Path, place: str | None) -> tuple[list[str], Path | None]:
    settings = Settings.load()
    home = embedded_home(settings)
    if not await shut_down(client_programs(settings), directory):
        raise ConflictError(f"{directory} is not a cluster that was recovered and shut down")
    system = await asyncio.to_thread(system_of, directory)
    histories: list[str] = []
    if home.exists() and await asyncio.to_thread(system_of, home) != system:
        raise ConflictError(f"{directory} is of another cluster than {home}")
    if not (place or settings.neo_backup_target):
        return histories, await asyncio.to_thread(replace_embedded, settings, directory)
    async with opened_target(settings, place) as (target, key):
        archive = WalArchive(target, key, system)

        def claim() -> None:
            histories.extend(claim_timeline(archive, directory))

        work = partial(replace_embedded, settings, directory, claim=claim)
        return histories, await asyncio.to_thread(work)
