"""`neo-polystore store redis`: memory, keys by family, and emptying a family."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.addresses import EmbeddedAddresses, ServerAddresses
from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.settings import Settings
from neo_polystore.stores.redis import diagnostics
from neo_polystore.stores.redis.client import RedisClient
from neo_polystore.stores.redis.keys import FAMILIES

T = TypeVar("T")

app = typer.Typer(help="Diagnostics of Redis.", no_args_is_help=True)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show memory, evictions and hits of each server, and warn where sessions or limits could be
    evicted."""
    figures, warnings = run(_with(diagnostics.status))
    if as_json:
        print_json({"servers": figures, "warnings": warnings})
        return
    table = Table("", *map(escape, figures))
    for name in dict.fromkeys(name for each in figures.values() for name in each):
        values = (escape(str(each.get(name, ""))) for each in figures.values())
        table.add_row(name.replace("_", " "), *values)
    console.print(table)
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}")


@app.command()
def keys(
    budget: Annotated[
        int, typer.Option(min=2, max=1_000_000, help="At most so many commands to the server.")
    ] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Show the key families: what they hold, their TTLs, how many keys and bytes they have."""
    sample = run(_with(lambda client: diagnostics.families(client, budget=budget)))
    if as_json:
        print_json(asdict(sample))
        return
    table = Table()
    for heading in ("family", "holds", "pattern", "TTL s", "keys", "mean bytes", "mean left s"):
        table.add_column(heading, overflow="fold")
    for row in sample.families:
        figures = (f"{row.ttl:,.0f}", f"{row.keys:,}", f"{row.mean_bytes:,.0f}")
        table.add_row(row.family, row.holds, escape(row.pattern), *figures, f"{row.mean_left:,.0f}")
    console.print(table)
    whole = "all" if sample.complete else "a sample: raise --budget for more of the"
    console.print(f"[dim]{sample.seen:,} keys seen, {whole} {sample.total:,}[/dim]")


@app.command()
def flush(
    family: Annotated[str, typer.Argument(help="A key family, see `store redis keys`.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the keys.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove every key of a family. Cached values come back by themselves, counts do not."""
    if family not in FAMILIES:
        raise typer.BadParameter(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    count = run(_with(lambda client: diagnostics.flush(client, family, dry_run=dry_run)))
    if as_json:
        print_json({"family": family, "keys": count, "dry_run": dry_run})
    else:
        console.print(f"{count:,} keys of {family} {'would be ' if dry_run else ''}removed")


async def _with(work: Callable[[RedisClient], Awaitable[T]]) -> T:
    settings = Settings.load()
    embedded = settings.neo_profile == "embedded"
    addresses = await EmbeddedAddresses.open(settings) if embedded else ServerAddresses(settings)
    client: RedisClient | None = None
    try:
        client = RedisClient(await addresses.config("redis"))
        await client.connect()
        return await work(client)
    finally:
        if client is not None:
            await client.close()
        await addresses.close()
