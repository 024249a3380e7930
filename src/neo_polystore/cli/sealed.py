"""`neo-polystore sealed`: seal and open items, list and survey them, rotate keys, import files."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast
from uuid import UUID

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, err, fail, print_json, run
from neo_polystore.cli.text import cell
from neo_polystore.errors import TenantRequiredError, UsageError
from neo_polystore.ids import SYSTEM_USER
from neo_polystore.polystore import Polystore
from neo_polystore.records.sealed import Policy
from neo_polystore.records.sealing import Head, Identity, Opener
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.importing import Imported, import_files
from neo_polystore.sealing.items import Draft, OwnItems
from neo_polystore.sealing.rotation import BATCH, Rotation, rotate
from neo_polystore.settings import Settings

app = typer.Typer(
    help="What is sealed for enclaves: items, their keys, and moving them here.",
    no_args_is_help=True,
)

STDIN = Path("-")

Key = Annotated[str, typer.Argument(help="The item's key, unique among its owner's.")]
User = Annotated[UUID | None, typer.Option(help="The owner; by default the system's user.")]
Service = Annotated[str | None, typer.Option(help="The owner is this service.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be, change nothing.")]
Measurement = Annotated[
    str | None, typer.Option("--measurement", help="MRENCLAVE or MRSIGNER, 64 hex digits.")
]
Product = Annotated[int | None, typer.Option(help="The signer's product id.")]
Label = Annotated[str | None, typer.Option(help="The label of USER_DEFINED.")]
PolicyOption = Annotated[str, typer.Option(help="MRENCLAVE, MRSIGNER or USER_DEFINED.")]


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Polystore, Settings]]:
    """The facade with what sealing takes."""
    settings = Settings.load()
    async with open_polystore(settings, data_types={"audit_logs", "sealed"}) as polystore:
        yield polystore, settings


@asynccontextmanager
async def owned(user: UUID | None, service: str | None) -> AsyncIterator[OwnItems]:
    """The items of the owner that the options name."""
    if user is not None and service is not None:
        raise UsageError("an item belongs to a user or to a service: name one")
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
        content = sys.stdin.buffer.read() if source == STDIN else _read(source)
        draft = Draft(key, content, identity, enclave, under, expected)
        async with owned(user, service) as items:
            return await items.seal(draft)

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
    if target is not None and target.exists():
        raise fail(UsageError(f"{target} exists already"))

    async def work() -> memoryview:
        opener = Opener.of(
            mr_enclave=mr_enclave,
            mr_signer=mr_signer,
            product_id=product,
            svn=svn,
            label=label,
            attestation=attestation,
        )
        async with owned(user, service) as items:
            return (await items.open(key, opener)).content

    content = run(work())
    if target is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        with target.open("xb") as file:
            file.write(content)


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
    _show(rows, columns, as_json=as_json)


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

    done = run(work())
    if as_json:
        print_json({"data_key": key, "found": done, "dry_run": dry_run})
    else:
        verb = "would delete" if dry_run else "deleted"
        console.print(f"{verb} {escape(cell(key))}" if done else "no such item")


@app.command()
def inventory(as_json: JsonOption = False) -> None:
    """Survey all items of all owners by master key, policy and SVN."""

    async def work() -> list[dict[str, Any]]:
        async with opened() as (polystore, _):
            return [asdict(found) for found in await polystore.sealing.survey()]

    columns = (
        "key_id",
        "key_state",
        "policy",
        "svn_floor",
        "policy_name",
        "items",
        "bytes",
        "oldest",
    )
    _show(run(work()), columns, as_json=as_json)


@app.command("rotate")
def rotate_command(
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Items per commit.")] = BATCH,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Seal everything anew under a new master key and destroy the old one.

    May be interrupted at any time: the next run goes on. Exit code 1: items do not open, and
    their key stays.
    """

    async def work() -> Rotation:
        with Progress(console=err, disable=as_json) as progress:
            task = progress.add_task("re-sealing", total=None)

            def tell(done: int, total: int) -> None:
                progress.update(task, completed=done, total=total)

            async with opened() as (polystore, _):
                return await rotate(polystore.sealing, batch=batch, progress=tell, dry_run=dry_run)

    done = run(work())
    if as_json:
        print_json(asdict(done))
    elif dry_run:
        console.print(f"would seal {done.items:,} items anew")
    else:
        gone = ", ".join(done.destroyed) or "no key"
        console.print(f"sealed {done.resealed:,} items anew under {done.active}; destroyed {gone}")
        _show_rejected(done.failed)
    if done.failed:
        raise typer.Exit(1)


@app.command()
def policies(as_json: JsonOption = False) -> None:
    """Show the named sealing policies."""

    async def work() -> list[dict[str, Any]]:
        async with opened() as (polystore, _):
            found = await polystore.sealing.policies()
            return [policy.model_dump(mode="json") for policy in found]

    columns = ("name", "policy_type", "retention_days", "svn_floor", "attestation_max_age")
    _show(run(work()), columns, as_json=as_json)


@app.command("policy")
def policy_command(
    source: Annotated[Path, typer.Argument(help="The policy as JSON; see docs/sealing.md.")],
) -> None:
    """Store a named sealing policy, or change the one of this name."""

    async def work() -> str:
        policy = SealingPolicy.of(_read(source))
        async with opened() as (polystore, _):
            await polystore.sealing.put_policy(policy)
        return policy.name

    console.print(f"stored the policy {run(work())}")


@app.command("import")
def import_command(
    source: Annotated[Path, typer.Argument(exists=True, help="A directory or a tar archive.")],
    enclave: Annotated[str, typer.Option(help="Enclave that sealed the files.")],
    policy: PolicyOption = "MRENCLAVE",
    user: User = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Take over files that enclaves sealed, byte for byte. May be interrupted and run again.

    A file SHA256SUMS among them says what they must be; NAME.mac holds the MAC of NAME.
    """

    async def work() -> Imported:
        async with opened() as (polystore, settings):
            return await import_files(
                source,
                polystore.sealed.within(settings.scope()),
                owner=user or SYSTEM_USER,
                enclave=enclave,
                policy=cast(Policy, policy),
                largest=settings.neo_sealed_max_bytes,
                dry_run=dry_run,
            )

    done = run(work())
    if as_json:
        print_json(asdict(done))
    else:
        console.print(
            f"{done.files:,} files, {done.bytes:,} bytes: {done.new:,} new, {done.existing:,}"
            f" existing, {done.replaced:,} replaced, {len(done.rejected):,} rejected"
        )
        _show_rejected(done.rejected)
    if done.rejected:
        raise typer.Exit(1)


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}") from None


def _show_rejected(reasons: dict[str, str]) -> None:
    for name, reason in sorted(reasons.items()):
        err.print(f"[red]{escape(cell(name))}[/red]: {escape(cell(reason))}")


def _show(rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print("nothing to show")
        return
    table = Table()
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell(row[name])) for name in columns))
    console.print(table)
