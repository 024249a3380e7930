"""`neo-polystore sealed blobs`: what enclaves of a service sealed themselves, kept as it is."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from neo_polystore.cli.files import new_file, refuse_existing
from neo_polystore.cli.output import JsonOption, print_rows, run
from neo_polystore.cli.sealed_admin import DryRun, opened, tell_deleted

app = typer.Typer(
    help="Blobs that a service's enclaves sealed themselves; `sealed import` brings them.",
    no_args_is_help=True,
)

Service = Annotated[str, typer.Option(help="The service that they belong to.")]
Key = Annotated[str, typer.Argument(help="The blob's key: its path when it was imported.")]


@app.command("list")
def list_command(
    service: Service,
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    after: Annotated[str, typer.Option(metavar="KEY", help="From behind this one.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """List a service's blobs, without their bytes."""

    async def work() -> list[dict[str, Any]]:
        async with opened() as (polystore, _):
            blobs = polystore.sealing.blobs_of_service(service)
            found = await blobs.facts(prefix=prefix, after=after, limit=limit)
            return [asdict(one) for one in found]

    columns = ("data_key", "version", "enclave_id", "policy", "size", "expires_at")
    print_rows(run(work()), columns, as_json=as_json)


@app.command("get")
def get_command(
    key: Key,
    service: Service,
    target: Annotated[
        Path | None, typer.Argument(help="A new file; none: standard output.")
    ] = None,
) -> None:
    """Give a blob back, byte for byte."""

    async def work() -> bytes:
        refuse_existing(target)
        async with opened() as (polystore, _):
            return (await polystore.sealing.blobs_of_service(service).get(key)).blob

    blob = run(work())
    if target is None:
        sys.stdout.buffer.write(blob)
        sys.stdout.buffer.flush()
        return
    with new_file(target) as file:
        file.write(blob)


@app.command("delete")
def delete_command(
    key: Key, service: Service, dry_run: DryRun = False, as_json: JsonOption = False
) -> None:
    """Delete a blob."""

    async def work() -> bool:
        async with opened() as (polystore, _):
            blobs = polystore.sealing.blobs_of_service(service)
            if dry_run:
                found = await blobs.facts(prefix=key, limit=1)
                return bool(found) and found[0].data_key == key
            await blobs.delete(key)
            return True

    tell_deleted(key, run(work()), dry_run=dry_run, as_json=as_json)
