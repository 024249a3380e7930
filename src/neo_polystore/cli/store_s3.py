"""`neo-polystore store s3`: besides `init` and `status`, the buckets."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from neo_polystore.addresses import ServerAddresses
from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.cli.store_admin import group
from neo_polystore.settings import Settings
from neo_polystore.stores.s3.client import S3Client

app = group("s3")


@app.command()
def buckets(
    names: Annotated[list[str], typer.Argument(help="Buckets that there have to be.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which lack.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the buckets that lack. Exit code 1 where one lacks after a dry run."""
    lacking = run(_make(names, dry_run=dry_run))
    if as_json:
        print_json({"lacking" if dry_run else "made": lacking})
    else:
        verb = "lacks" if dry_run else "made"
        for name in names:
            console.print(f"{escape(name)}: {verb if name in lacking else 'is there'}")
    if dry_run and lacking:
        raise typer.Exit(1)


async def _make(names: list[str], *, dry_run: bool) -> list[str]:
    client = S3Client(await ServerAddresses(Settings.load()).config("s3"))
    await client.connect()
    try:
        answer = await client.run("buckets", lambda: client.driver.list_buckets())
        there = {bucket["Name"] for bucket in answer.get("Buckets", ())}
        lacking = [name for name in dict.fromkeys(names) if client.bucket(name) not in there]
        for name in () if dry_run else lacking:
            await client.run("buckets", partial(client.make_bucket, client.bucket(name)))
        return lacking
    finally:
        await client.close()
