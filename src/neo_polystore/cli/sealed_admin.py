"""The rest of `neo-polystore sealed`: inventory, policies, rotation of keys, import of files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape
from rich.progress import Progress

from neo_polystore.build import open_polystore
from neo_polystore.build_sealing import key_wrapper
from neo_polystore.cli.output import JsonOption, console, err, fail, print_json, print_rows, run
from neo_polystore.cli.text import cell
from neo_polystore.errors import UsageError
from neo_polystore.ids import SYSTEM_USER
from neo_polystore.keys.local import LocalWrapper, key_from_file
from neo_polystore.polystore import Polystore
from neo_polystore.ports.keys import KeyWrapper
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.importing import Imported, import_files
from neo_polystore.sealing.rotation import BATCH, Rotation, rewrap, rotate
from neo_polystore.settings import Settings

app = typer.Typer()

User = Annotated[UUID | None, typer.Option(help="The owner; by default the system's user.")]
Service = Annotated[str | None, typer.Option(help="The owner is this service.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be, change nothing.")]
PolicyOption = Annotated[str, typer.Option(help="MRENCLAVE, MRSIGNER or USER_DEFINED.")]


def one_owner(user: UUID | None, service: str | None) -> None:
    """UsageError where the options name two owners."""
    if user is not None and service is not None:
        raise UsageError("an item belongs to a user or to a service: name one")


def tell_deleted(key: str, found: bool, *, dry_run: bool, as_json: bool) -> None:
    """Print what a deletion did, or would do."""
    if as_json:
        print_json({"data_key": key, "found": found, "dry_run": dry_run})
    else:
        verb = "would delete" if dry_run else "deleted"
        console.print(
            f"{verb} {escape(cell(key))}" if found else f"there is no {escape(cell(key))}"
        )


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Polystore, Settings]]:
    """The facade with what sealing takes."""
    settings = Settings.load()
    async with open_polystore(settings, data_types={"audit_logs", "sealed"}) as polystore:
        yield polystore, settings


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
    print_rows(run(work()), columns, as_json=as_json)


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


@app.command("rewrap")
def rewrap_command(
    key_file: Annotated[
        Path | None, typer.Option(help="File with the local key that wrapped them so far.")
    ] = None,
    wrapper: Annotated[
        str | None, typer.Option(help="Or what did: local, kms or vault, as the settings say.")
    ] = None,
) -> None:
    """Wrap the master keys anew, by what NEO_KEY_WRAPPER says now. Items are not touched.

    For another SGX_ENCRYPTION_KEY, or on the way to KMS or Vault. May be run again.
    """
    if (key_file is None) == (wrapper is None):
        raise fail(UsageError("say what wrapped the keys so far: --key-file or --wrapper"))

    async def work() -> int:
        async with opened() as (polystore, settings):
            return await rewrap(polystore.sealing, old=_wrapper(settings, key_file, wrapper))

    count = run(work())
    console.print(f"wrapped {count:,} master key{'' if count == 1 else 's'} anew")


def _wrapper(settings: Settings, key_file: Path | None, name: str | None) -> KeyWrapper:
    if key_file is not None:
        return LocalWrapper(key_from_file(key_file))
    if name not in ("local", "kms", "vault"):
        raise UsageError(f"--wrapper {name}: expected local, kms or vault")
    return key_wrapper(settings.model_copy(update={"neo_key_wrapper": name}))


@app.command()
def policies(as_json: JsonOption = False) -> None:
    """Show the named sealing policies."""

    async def work() -> list[dict[str, Any]]:
        async with opened() as (polystore, _):
            found = await polystore.sealing.policies()
            return [policy.model_dump(mode="json") for policy in found]

    columns = ("name", "policy_type", "retention_days", "svn_floor", "attestation_max_age")
    print_rows(run(work()), columns, as_json=as_json)


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
    service: Service = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Take over files that enclaves sealed, byte for byte. May be interrupted and run again.

    A file SHA256SUMS among them says what they must be; NAME.mac holds the MAC of NAME.
    """

    async def work() -> Imported:
        one_owner(user, service)
        common = {"enclave_id": enclave, "policy": policy}
        async with opened() as (polystore, settings):
            largest = settings.neo_sealed_max_bytes
            if service is not None:
                blobs = polystore.sealing.blobs_of_service(service)
                return await import_files(
                    source, blobs, common=common, largest=largest, dry_run=dry_run
                )
            return await import_files(
                source,
                polystore.sealed.within(settings.scope()),
                common={**common, "owner": user or SYSTEM_USER},
                largest=largest,
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
