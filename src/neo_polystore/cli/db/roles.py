"""`neo-polystore db roles`: make and check the roles of a server that one administers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.addresses import EmbeddedAddresses, ServerAddresses
from neo_polystore.cli.db.options import DryRun
from neo_polystore.cli.output import JsonOption, console, fail, print_json, run
from neo_polystore.errors import UsageError
from neo_polystore.ops.role_names import given_passwords, password_variable, wanted_roles
from neo_polystore.ops.roles import (
    RolesReport,
    administrator,
    check_roles,
    create_roles,
)
from neo_polystore.pgkit.errors import translated
from neo_polystore.settings import Settings

app = typer.Typer(
    help="The roles of a PostgreSQL server that you administer.", no_args_is_help=True
)

AdminUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="postgresql://admin:password@host/postgres; better in NEO_ADMIN_URL, where no other"
        " user of this machine sees it.",
    ),
]


@app.command()
def create(
    admin_url: AdminUrl = None,
    databases: Annotated[
        bool, typer.Option("--databases", help="The databases and their extensions as well.")
    ] = False,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Make the roles that lack and put right those that differ.

    Passwords come from NEO_ROLE_PASSWORD_<ROLE>, for instance NEO_ROLE_PASSWORD_NEO_OWNER; those
    of POSTGRES_USER, POSTGRES_OWNER and POSTGRES_RELAY from their settings too. The server is sent
    SCRAM-SHA-256 verifiers only. What this administrator may not do is printed for one who may;
    exit code 1 then.
    """
    settings = _settings()
    url = _url(settings, admin_url)
    if url is None:
        raise fail(UsageError("say who administers the server: NEO_ADMIN_URL or --admin-url"))
    report = run(create_roles(settings, url, databases=databases, dry_run=dry_run))
    _show(report, as_json=as_json, title="Would run" if dry_run else "To be run by a superuser")
    if not as_json:
        _hint(settings, report)
    if report.lacking and not dry_run:
        raise typer.Exit(1)


@app.command()
def check(admin_url: AdminUrl = None, as_json: JsonOption = False) -> None:
    """Compare the server's roles with what they should be. Exit code 1 where anything lacks.

    Any role may look: without an administrator's address it is the application that does.
    """
    settings = _settings()
    report = run(_check(settings, _url(settings, admin_url)))
    _show(report, as_json=as_json, title="To be run by an administrator")
    if not report.ok:
        raise typer.Exit(1)


async def _check(settings: Settings, url: str | None) -> RolesReport:
    async with administrator(url) if url else _application(settings) as connection:
        return await check_roles(settings, connection)


@asynccontextmanager
async def _application(settings: Settings) -> AsyncIterator[Any]:
    embedded = settings.neo_profile == "embedded"
    addresses = await EmbeddedAddresses.open(settings) if embedded else ServerAddresses(settings)
    try:
        config = (await addresses.config("postgres")).direct()
        async with translated("postgres", "roles"):
            connection = await asyncpg.connect(**config.connect_arguments())
            try:
                yield connection
            finally:
                await connection.close()
    finally:
        await addresses.close()


def _settings() -> Settings:
    return run(_load())


async def _load() -> Settings:
    return Settings.load()


def _url(settings: Settings, given: str | None) -> str | None:
    if given is not None:
        return given
    return settings.neo_admin_url.get_secret_value() if settings.neo_admin_url else None


def _hint(settings: Settings, report: RolesReport) -> None:
    passwords = given_passwords(settings)
    silent = [
        role.name for role in wanted_roles(settings) if role.login and role.name not in passwords
    ]
    made = [name for name in silent if report.roles.get(name) == "made or changed"]
    if made:
        console.print(f"Without a password, so nobody logs in as: {', '.join(map(escape, made))}")
        console.print(f"(set {password_variable(made[0])} and so on, and run this again)")
    if report.done:
        console.print("`neo-polystore db migrate` grants them what they may do.")


def _show(report: RolesReport, *, as_json: bool, title: str) -> None:
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "roles": report.roles,
                "done": report.done,
                "lacking": report.lacking,
                "optional": report.optional,
            }
        )
        return
    table = Table(title="Roles", title_justify="left")
    table.add_column("role")
    table.add_column("state", overflow="fold")
    for role, state in report.roles.items():
        extra = " (may be left out)" if role in report.optional else ""
        table.add_row(escape(role), state + extra)
    console.print(table)
    for heading, statements in (("Done", report.done), (title, report.lacking)):
        if statements:
            console.print(f"{heading}:")
            for statement in statements:
                console.print(f"  {escape(statement)};", soft_wrap=True)
