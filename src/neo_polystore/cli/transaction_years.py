"""`neo-polystore store postgres drop-year`: a past year of transactions with its keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from neo_polystore.cli.outbox import DryRun, relational
from neo_polystore.cli.output import JsonOption, console, fail, print_json, run
from neo_polystore.errors import UsageError
from neo_polystore.ports.scheduling import DroppedYear


def drop_year(
    year: Annotated[int, typer.Argument(help="A past year.")],
    force: Annotated[bool, typer.Option("--force", help="Drop it.")] = False,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Drop a past year's transactions and their keys; nothing brings them back but a backup.

    A run that was interrupted is completed by the next.
    """
    if force == dry_run:
        raise fail(UsageError("look with --dry-run, then say --force"))
    found = run(_drop(year, dry_run=dry_run))
    if as_json:
        print_json(asdict(found))
    elif found.state == "absent":
        console.print(f"there is no partition of {year}")
    else:
        size = f"{found.transactions:,} transactions, {found.bytes:,} bytes"
        done = f"dropped, {found.keys:,} keys" if found.state == "dropped" else found.state
        console.print(f"{year}: {size}; {done}")


async def _drop(year: int, *, dry_run: bool) -> DroppedYear:
    async with relational() as store:
        return await store.upkeep.drop_transactions(year, dry_run=dry_run)
