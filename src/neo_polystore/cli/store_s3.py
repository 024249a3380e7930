"""`neo-polystore store s3`: its buckets, and how they are set."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated, Literal

import typer
from rich.markup import escape

from neo_polystore.addresses import ServerAddresses
from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.cli.store_admin import add_commands
from neo_polystore.errors import UsageError
from neo_polystore.settings import Settings
from neo_polystore.stores.s3.bucket_rules import BucketRules, Step, set_up
from neo_polystore.stores.s3.client import S3Client

app = typer.Typer(help="Set up and probe S3.", no_args_is_help=True)
add_commands(app, "s3", init=False)


@app.command()
def init(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Buckets; by default that of NEO_BACKUP_TARGET.", metavar="BUCKET"),
    ] = None,
    sse: Annotated[
        Literal["AES256", "aws:kms", "none"], typer.Option(help="How the service encrypts.")
    ] = "AES256",
    kms_key: Annotated[str | None, typer.Option(help="The key for aws:kms.")] = None,
    lock_days: Annotated[
        int | None, typer.Option(min=1, help="Let nobody remove anything for so many days.")
    ] = None,
    lock_mode: Annotated[
        Literal["GOVERNANCE", "COMPLIANCE"],
        typer.Option(help="COMPLIANCE binds the owner of the account, too."),
    ] = "GOVERNANCE",
    noncurrent_days: Annotated[
        int, typer.Option(min=1, help="Days for which a locked bucket keeps what was deleted.")
    ] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is pending.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make and set buckets: encryption, no public access, lifecycle, and object lock if asked for.

    Run again it changes nothing; lifecycle rules of others stay. Exit code 1 where the service
    refused a setting, or one is pending after a dry run.
    """
    rules = BucketRules(
        sse=None if sse == "none" else sse,
        kms_key=kms_key,
        lock_days=lock_days,
        lock_mode=lock_mode,
        noncurrent_days=noncurrent_days,
    )
    steps = run(_init(names or [], rules, dry_run=dry_run))
    if as_json:
        print_json([asdict(step) for step in steps])
    else:
        for step in steps:
            detail = f" ({step.detail})" if step.detail else ""
            console.print(
                escape(f"{step.bucket}: {step.setting}: {step.outcome}{detail}"), soft_wrap=True
            )
    if any(step.outcome in ("pending", "refused") for step in steps):
        raise typer.Exit(1)


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


async def _init(names: list[str], rules: BucketRules, *, dry_run: bool) -> list[Step]:
    settings = Settings.load()
    target = settings.neo_backup_target or ""
    if not names and target.startswith("s3://"):
        names = [target.removeprefix("s3://").partition("/")[0]]
    if not names:
        raise UsageError("name a bucket: NEO_BACKUP_TARGET names none")
    client = S3Client(await ServerAddresses(settings).config("s3"))
    await client.connect()
    try:
        steps: list[Step] = []
        for name in dict.fromkeys(names):
            work = partial(set_up, client, client.bucket(name), rules, dry_run=dry_run)
            steps += await client.run("init", lambda work=work: list(work()))  # type: ignore[misc]
        return steps
    finally:
        await client.close()


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
