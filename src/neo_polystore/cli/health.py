"""`neo-polystore health`: every routed store, probed now."""

from __future__ import annotations

import typer
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.ops.health import PlatformHealth, check_health

_COLOURS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red", "disabled": "dim"}


def health(as_json: JsonOption = False) -> None:
    """Probe every routed store. Exit code 3 where a primary is down."""
    found = run(_check())
    if as_json:
        print_json(found.as_dict())
    else:
        console.print(_table(found))
    if found.status == "unhealthy":
        raise typer.Exit(3)


async def _check() -> PlatformHealth:
    async with open_polystore(tolerant=True) as polystore:
        return await check_health(polystore)


def _table(found: PlatformHealth) -> Table:
    table = Table(title=f"Health: {found.status}", title_justify="left")
    for heading in ("store", "status", "ms", "version", "detail"):
        table.add_column(heading, overflow="fold")
    for item in found.stores:
        answer = item.health
        colour = _COLOURS[answer.status]
        ms = "" if answer.milliseconds is None else f"{answer.milliseconds:.1f}"
        table.add_row(
            item.store,
            f"[{colour}]{answer.status}[/{colour}]",
            ms,
            answer.version or "",
            answer.detail,
        )
    return table
