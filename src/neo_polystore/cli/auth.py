"""`neo-polystore auth`: users with roles, API keys, tokens, and what each role may do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer
from pydantic import SecretStr
from rich.markup import escape
from rich.table import Table

from neo_polystore.auth.configured import tokens_of
from neo_polystore.auth.permissions import PERMISSIONS, ROLES, RULES
from neo_polystore.auth.provision import create_api_key, create_user
from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, fail, print_json, run
from neo_polystore.cli.text import printable
from neo_polystore.errors import ConfigError, PolystoreError, TenantRequiredError
from neo_polystore.ports.accounts import Accounts
from neo_polystore.records.accounts import ApiKey, NewApiKey, User
from neo_polystore.records.scope import Scope
from neo_polystore.settings import Settings

app = typer.Typer(help="Users with roles, API keys, tokens, permissions.", no_args_is_help=True)
keys = typer.Typer(help="API keys: what programs prove themselves by.", no_args_is_help=True)
app.add_typer(keys, name="keys")

TenantOption = Annotated[
    UUID | None, typer.Option(help="The tenant; else NEO_TENANT (embedded: the platform's).")
]
RoleOption = Annotated[list[str], typer.Option("--role", help=f"Of {', '.join(ROLES)}; repeat it.")]
ServiceOption = Annotated[str | None, typer.Option(help="The service to act as.")]


@app.command()
def routes(as_json: JsonOption = False) -> None:
    """Show which permission each route asks for, and which roles have it."""
    rows = [
        {
            "methods": sorted(rule.methods),
            "path": rule.path,
            "permission": rule.permission,
            "of": dict(rule.of),
            "roles": [role for role in ROLES if role in PERMISSIONS.get(rule.permission, ())],
        }
        for rule in RULES
    ]
    if as_json:
        print_json(rows)
        return
    table = Table(title="Permissions", title_justify="left")
    for heading in ("methods", "route", "permission", "roles"):
        table.add_column(heading)
    for rule, row in zip(RULES, rows, strict=True):
        roles = ", ".join(row["roles"]) or "anybody"
        table.add_row(", ".join(sorted(rule.methods)), escape(rule.path), rule.permission, roles)
    console.print(table)


@app.command()
def user(
    username: Annotated[str, typer.Argument(help="The name to log in with.")],
    email: Annotated[str, typer.Option(help="His address.")],
    role: RoleOption,
    tenant: TenantOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a user who can log in; the password is asked for, or read from standard input."""
    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    made = run(_user(username, email, SecretStr(password), role, tenant))
    if as_json:
        print_json({**made.model_dump(mode="json"), "roles": role})
    else:
        console.print(f"user {escape(printable(made.username))} ({made.id}): {', '.join(role)}")


@app.command()
def token(
    subject: Annotated[str, typer.Argument(help="Who bears it: `sub`, the actor in all logs.")],
    role: RoleOption,
    tenant: TenantOption = None,
    service: ServiceOption = None,
    seconds: Annotated[int, typer.Option(min=1, max=86_400, help="How long it holds.")] = 900,
    as_json: JsonOption = False,
) -> None:
    """Sign a JSON Web Token with JWT_SECRET_KEY and print it."""
    try:
        settings = Settings.load()
        tokens = tokens_of(settings)
        if tokens is None:
            raise ConfigError("no JWT_SECRET_KEY is set to sign a token with")
        scope = _scope(settings, tenant)
        made = tokens.sign(
            user=subject, tenant=scope.tenant, roles=role, seconds=seconds, service=service
        )
    except PolystoreError as error:
        raise fail(error) from None
    if as_json:
        expires = datetime.now(UTC) + timedelta(seconds=seconds)
        print_json({"token": made, "expires_at": expires.replace(microsecond=0)})
    else:
        typer.echo(made)


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for; unique in the tenant, for ever.")],
    role: RoleOption,
    tenant: TenantOption = None,
    service: ServiceOption = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="How long it holds; else: no end.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and print it, this once."""
    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    made = run(_create(name, role, tenant, service, expires))
    shown = made.token.get_secret_value()
    if as_json:
        print_json({**made.api_key.model_dump(mode="json"), "token": shown})
    else:
        typer.echo(shown)


@keys.command("list")
def listing(tenant: TenantOption = None, as_json: JsonOption = False) -> None:
    """List the tenant's keys, also those that have ended; never the keys themselves."""
    found = run(_list(tenant))
    if as_json:
        print_json({"keys": [key.model_dump(mode="json") for key in found]})
        return
    table = Table(title="API keys", title_justify="left")
    for heading in ("id", "name", "roles", "service", "created", "expires", "revoked"):
        table.add_column(heading)
    for key in found:
        times = (key.created_at, key.expires_at, key.revoked_at)
        shown = (f"{time:%Y-%m-%d %H:%M}" if time else "-" for time in times)
        cells = (str(key.id), key.name, ", ".join(key.roles), key.service or "-")
        table.add_row(*(escape(printable(cell)) for cell in cells), *shown)
    console.print(table)


@keys.command("revoke")
def revoke(
    key: Annotated[UUID, typer.Argument(help="The key's id.")],
    tenant: TenantOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which it is.")] = False,
    as_json: JsonOption = False,
) -> None:
    """End a key. A process that has just seen it takes it for NEO_AUTH_REMEMBER_SECONDS more."""
    run(_revoke(key, tenant, dry_run=dry_run))
    if as_json:
        print_json({"revoked": 0 if dry_run else 1, "key": key})
    else:
        console.print(f"{key} {'would be' if dry_run else 'is'} revoked")


async def _user(
    username: str, email: str, password: SecretStr, roles: list[str], tenant: UUID | None
) -> User:
    made = User.parse({"username": username, "email": email, "password": password})
    async with _accounts(tenant) as (accounts, _):
        await create_user(accounts, made, roles)
    return made


async def _create(
    name: str,
    roles: list[str],
    tenant: UUID | None,
    service: str | None,
    expires: datetime | None,
) -> NewApiKey:
    async with _accounts(tenant) as (accounts, scope):
        return await create_api_key(
            accounts,
            scope,
            name=name,
            roles=roles,
            service=service,
            expires_at=expires,
            may_name_services=True,
        )


async def _list(tenant: UUID | None) -> list[ApiKey]:
    async with _accounts(tenant) as (accounts, _):
        return await accounts.api_keys.list()


async def _revoke(key: UUID, tenant: UUID | None, *, dry_run: bool) -> None:
    async with _accounts(tenant) as (accounts, _):
        await accounts.api_keys.revoke(key, dry_run=dry_run)


@asynccontextmanager
async def _accounts(tenant: UUID | None) -> AsyncIterator[tuple[Accounts, Scope]]:
    settings = Settings.load()
    scope = _scope(settings, tenant)
    if scope.tenant is None:
        raise TenantRequiredError("users and keys belong to a tenant: --tenant, or NEO_TENANT")
    async with open_polystore(settings, data_types={"accounts"}) as polystore:
        yield polystore.accounts.within(scope), scope


def _scope(settings: Settings, tenant: UUID | None) -> Scope:
    return Scope(tenant=tenant) if tenant is not None else settings.scope()
