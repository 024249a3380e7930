"""`neo-polystore sealed`: seal and open items, list and delete them; the rest: `sealed_admin`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.markup import escape

from neo_polystore.cli import sealed_admin, sealed_blobs
from neo_polystore.cli.files import new_file, refuse_existing
from neo_polystore.cli.output import JsonOption, console, print_json, print_rows, run
from neo_polystore.cli.sealed_admin import (
    DryRun,
    PolicyOption,
    Service,
    User,
    one_owner,
    opened,
    tell_deleted,
)
from neo_polystore.cli.text import cell
from neo_polystore.errors import TenantRequiredError, UsageError
from neo_polystore.ids import SYSTEM_USER
from neo_polystore.records.sealing import Head, Identity, Opener
from neo_polystore.sealing.drafts import Draft
from neo_polystore.sealing.items import OwnItems

app = typer.Typer(
    help="What is sealed for enclaves: items, their keys, and moving them here.",
    no_args_is_help=True,
)
app.add_typer(sealed_admin.app)
app.add_typer(sealed_blobs.app, name="blobs")

STDIN = Path("-")

Key = Annotated[str, typer.Argument(help="The item's key, unique among its owner's.")]
Measurement = Annotated[
    str | None, typer.Option("--measurement", help="MRENCLAVE or MRSIGNER, 64 hex digits.")
]
Product = Annotated[int | None, typer.Option(help="The signer's product id.")]
Label = Annotated[str | None, typer.Option(help="The label of USER_DEFINED.")]


@asynccontextmanager
async def owned(user: UUID | None, service: str | None) -> AsyncIterator[OwnItems]:
    """The items of the owner that the options name."""
    one_owner(user, service)
    async with opened() as (polystore, settings):
        if service is not None:
            yield polystore.sealing.of_service(service)
            return
        tenant = settings.scope().tenant
        if tenant is None:
            raise TenantRequiredError("users belong to a tenant: set NEO_TENANT")
        yield polystore.sealing.of_user(tenant, user or SYSTEM_USER)


@app.command()
def seal(
    key: Key,
    source: Annotated[Path, typer.Argument(help="-: standard input.", allow_dash=True)] = STDIN,
    policy: PolicyOption = "USER_DEFINED",
    measurement: Measurement = None,
    product: Product = None,
    svn_floor: Annotated[int | None, typer.Option(help="Lowest SVN that opens it.")] = None,
    label: Label = None,
    enclave: Annotated[str, typer.Option(help="Name of the enclave.")] = "",
    under: Annotated[str, typer.Option(metavar="NAME", help="A named sealing policy.")] = "",
    expected: Annotated[
        int | None, typer.Option(min=0, help="Version that is stored; 0: none.")
    ] = None,
    user: User = None,
    service: Service = None,
    as_json: JsonOption = False,
) -> None:
    """Seal a file, or what comes in."""

    async def work() -> Head:
        identity = Identity.of(
            policy=policy,
            measurement=measurement,
            product_id=product,
            svn_floor=svn_floor,
            label=label,
        )
        draft = Draft(key, b"", identity, enclave, under, expected)
        async with owned(user, service) as items:
            return await items.seal_parts(draft, _parts(source))

    head = run(work())
    if as_json:
        print_json(head.as_dict())
    else:
        console.print(
            f"sealed {escape(cell(key))} version {head.binding.version} under {head.key_id}"
        )


@app.command("open")
def open_command(
    key: Key,
    target: Annotated[
        Path | None, typer.Argument(help="A new file; none: standard output.")
    ] = None,
    mr_enclave: Annotated[str | None, typer.Option("--mrenclave")] = None,
    mr_signer: Annotated[str | None, typer.Option("--mrsigner")] = None,
    product: Product = None,
    svn: Annotated[int | None, typer.Option(help="The opener's SVN.")] = None,
    label: Label = None,
    attestation: Annotated[UUID | None, typer.Option(help="Id of an accepted one.")] = None,
    user: User = None,
    service: Service = None,
) -> None:
    """Open an item as this enclave, or under this label."""

    async def work() -> None:
        refuse_existing(target)
        opener = Opener.of(
            mr_enclave=mr_enclave,
            mr_signer=mr_signer,
            product_id=product,
            svn=svn,
            label=label,
            attestation=attestation,
        )
        async with owned(user, service) as items:
            opened = await items.open_parts(key, opener)
            if target is None:
                async for part in opened.parts:
                    sys.stdout.buffer.write(part)
                sys.stdout.buffer.flush()
            else:
                with new_file(target) as file:
                    async for part in opened.parts:
                        file.write(part)

    run(work())


@app.command("list")
def list_command(
    prefix: Annotated[str, typer.Option(help="Only keys that begin so.")] = "",
    after: Annotated[str, typer.Option(metavar="KEY", help="From behind this one.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    user: User = None,
    service: Service = None,
    as_json: JsonOption = False,
) -> None:
    """List an owner's items, without opening any."""

    async def work() -> Sequence[Head]:
        async with owned(user, service) as items:
            return await items.heads(prefix=prefix, after=after, limit=limit)

    rows = [head.as_dict() for head in run(work())]
    columns = ("data_key", "version", "policy", "svn_floor", "key_id", "size", "sealed_at")
    print_rows(rows, columns, as_json=as_json)


@app.command()
def delete(
    key: Key,
    expected: Annotated[int | None, typer.Option(min=1, help="Only this version.")] = None,
    user: User = None,
    service: Service = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an item. Its version goes on if the key is used again."""

    async def work() -> bool:
        async with owned(user, service) as items:
            if dry_run:
                found = await items.heads(prefix=key, limit=1)
                return bool(found) and found[0].binding.data_key == key
            await items.delete(key, expected=expected)
            return True

    tell_deleted(key, run(work()), dry_run=dry_run, as_json=as_json)


@app.command()
def reseal(
    key: Key,
    mr_enclave: Annotated[str | None, typer.Option("--mrenclave")] = None,
    mr_signer: Annotated[str | None, typer.Option("--mrsigner")] = None,
    product: Product = None,
    svn: Annotated[int | None, typer.Option(help="The opener's SVN.")] = None,
    label: Label = None,
    attestation: Annotated[UUID | None, typer.Option(help="Id of an accepted one.")] = None,
    to_measurement: Annotated[
        str | None, typer.Option(help="For this MRENCLAVE or MRSIGNER from now on.")
    ] = None,
    to_svn_floor: Annotated[int | None, typer.Option(help="With this SVN floor.")] = None,
    to_label: Annotated[str | None, typer.Option(help="Under this label.")] = None,
    user: User = None,
    service: Service = None,
    as_json: JsonOption = False,
) -> None:
    """Open an item and seal it again, for another enclave or SVN floor if that is named.

    For a new release of an enclave, or items below the SVN floor of their policy.
    """
    changes = {"measurement": to_measurement, "svn_floor": to_svn_floor, "label": to_label}

    async def work() -> Head:
        opener = Opener.of(
            mr_enclave=mr_enclave,
            mr_signer=mr_signer,
            product_id=product,
            svn=svn,
            label=label,
            attestation=attestation,
        )
        named = {name: value for name, value in changes.items() if value is not None}
        async with owned(user, service) as items:
            return await items.reseal_for(key, opener, **named)

    head = run(work())
    if as_json:
        print_json(head.as_dict())
    else:
        console.print(f"sealed {escape(cell(key))} again as version {head.binding.version}")


async def _parts(source: Path) -> AsyncIterator[bytes]:
    """What a file or standard input holds, 1 MiB at a time."""
    try:
        with sys.stdin.buffer if source == STDIN else source.open("rb") as file:
            while part := file.read(1 << 20):
                yield part
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}") from None
