"""The roles and databases of a PostgreSQL server that we administer: what is there, what lacks."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from neo_polystore.errors import ConfigError
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.quoting import name
from neo_polystore.pgkit.role_setup import (
    Step,
    apply,
    lacking,
    lacking_databases,
    lacking_extensions,
)
from neo_polystore.pgkit.roles import APPLICATION, OWNER, RELAY, REQUIRED, ROLES, Role
from neo_polystore.settings import Settings

Connection = Any  # asyncpg's is generic only in its stubs

STORE = "postgres"

# Membership that would let a role past row-level security: see `pgkit/binding.py`.
_EXCESS = """
SELECT u.rolname AS member, g.rolname AS granted
FROM pg_roles u JOIN pg_roles g ON g.oid <> u.oid AND pg_has_role(u.oid, g.oid, 'MEMBER')
WHERE u.rolname = ANY($1) AND NOT u.rolsuper
    AND (g.rolsuper OR g.rolbypassrls OR g.rolname = ANY($2))
ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class RolesReport:
    """What was found and done. `statements` are for people: no password stands in them.

    `lacking` says what the server lacks still, `optional` the roles that it may do without.
    """

    roles: dict[str, str]
    done: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing lacks."""
        return not self.lacking


def wanted_roles(settings: Settings) -> tuple[Role, ...]:
    """The roles of every server, and those that the settings call by other names.

    Another name for the application, the owner or the relay is a member of that role: what is
    granted to it, and the policies that name it, then hold for the member too.
    """
    groups = {
        settings.postgres_owner: OWNER,
        settings.postgres_user: APPLICATION,
        settings.postgres_relay: RELAY,
    }
    known = {role.name for role in ROLES}
    others = [Role(role, member_of=group) for role, group in groups.items() if role not in known]
    return (*ROLES, *others)


def given_passwords(
    settings: Settings, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Passwords by role: NEO_ROLE_PASSWORD_<ROLE>, else what the settings log in with."""
    settled = {
        settings.postgres_user: settings.postgres_password,
        settings.postgres_owner: settings.postgres_owner_password,
        settings.postgres_relay: settings.postgres_relay_password,
    }
    found = {role: secret.get_secret_value() for role, secret in settled.items()}
    for role in wanted_roles(settings):
        if password := environment.get(password_variable(role.name)):
            found[role.name] = password
    return {role: password for role, password in found.items() if password}


def password_variable(role: str) -> str:
    """The environment variable with a role's password."""
    return "NEO_ROLE_PASSWORD_" + re.sub(r"\W", "_", role).upper()


async def create_roles(
    settings: Settings, admin_url: str, *, databases: bool = False, dry_run: bool = False
) -> RolesReport:
    """Make what lacks, as far as this administrator may; the rest is in the report's `lacking`.

    With `databases` also the databases and their extensions. Raises UnavailableError, and
    ConfigError for a URL that is none.
    """
    wanted = wanted_roles(settings)
    async with _connected(admin_url) as connection:
        steps = await lacking(connection, wanted, given_passwords(settings))
        if databases:
            steps += await lacking_databases(
                connection, database_names(settings), owner=settings.postgres_owner
            )
        steps += await _excess(connection, settings)
        refused = [] if dry_run else await apply(connection, steps)
        if not databases or dry_run:
            return await _report(connection, settings, steps, refused, dry_run=dry_run)
        for database in database_names(settings):
            found, failed = await _extensions(admin_url, database)
            steps += found
            refused += failed
        return await _report(connection, settings, steps, refused, dry_run=False)


async def check_roles(settings: Settings, connection: Connection) -> RolesReport:
    """Compare, over the connection of any role; nothing is changed."""
    steps = await lacking(connection, wanted_roles(settings))
    steps += await lacking_databases(
        connection, database_names(settings), owner=settings.postgres_owner
    )
    steps += await _excess(connection, settings)
    rows = await connection.fetch("SELECT rolname FROM pg_roles")
    present = {row["rolname"] for row in rows}
    needed = _required(settings)
    optional = [
        role.name
        for role in wanted_roles(settings)
        if role.name not in present and role.name not in needed
    ]
    missing = [step.shown for step in steps if step.role not in optional]
    wrong = {step.role for step in steps}
    states = {
        role.name: (
            "not there" if role.name not in present else "differs" if role.name in wrong else "ok"
        )
        for role in wanted_roles(settings)
    }
    return RolesReport(states, lacking=missing, optional=optional)


def database_names(settings: Settings) -> list[str]:
    """The databases on the server of POSTGRES_HOST."""
    names = [settings.postgres_db, settings.event_store_db]
    return names if settings.timescale_host else [*names, settings.timescale_db]


@asynccontextmanager
async def _connected(url: str, database: str | None = None) -> AsyncIterator[Connection]:
    if urlsplit(url).scheme not in ("postgres", "postgresql"):
        raise ConfigError("NEO_ADMIN_URL is no postgresql:// address", store=STORE)
    async with translated(STORE, "roles"):
        try:
            connection = await asyncpg.connect(url, database=database)
        except ValueError:  # the driver's message may repeat the password
            raise ConfigError("NEO_ADMIN_URL cannot be read", store=STORE) from None
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def administrator(url: str) -> AsyncIterator[Connection]:
    """A connection by an administrator's URL; ConfigError where it is none."""
    async with _connected(url) as connection:
        yield connection


async def _extensions(url: str, database: str) -> tuple[list[Step], list[Step]]:
    async with _connected(url, database) as connection:
        steps = await lacking_extensions(connection)
        shown = [
            Step("", step.sql, f"{step.shown} (connected to {name(database)})") for step in steps
        ]
        return shown, await apply(connection, shown)


async def _excess(connection: Connection, settings: Settings) -> list[Step]:
    """What must be taken from the roles that serve."""
    serving = [settings.postgres_user, settings.postgres_relay, APPLICATION, RELAY]
    owners = [settings.postgres_owner, OWNER]
    rows = await connection.fetch(_EXCESS, serving, owners)
    found = [
        (row["member"], f"REVOKE {name(row['granted'])} FROM {name(row['member'])}") for row in rows
    ]
    return [Step(member, sql, sql) for member, sql in found]


def _required(settings: Settings) -> set[str]:
    return {*REQUIRED, settings.postgres_user, settings.postgres_owner, settings.postgres_relay}


async def _report(
    connection: Connection,
    settings: Settings,
    steps: list[Step],
    refused: list[Step],
    *,
    dry_run: bool,
) -> RolesReport:
    rows = await connection.fetch("SELECT rolname FROM pg_roles")
    present = {row["rolname"] for row in rows}
    undone = steps if dry_run else refused
    changed = {step.role for step in steps} - {step.role for step in undone}
    open_still = {step.role for step in undone}
    states = {}
    for role in wanted_roles(settings):
        if role.name not in present:
            states[role.name] = "not there"
        elif role.name in open_still:
            states[role.name] = "differs"
        else:
            states[role.name] = "made or changed" if role.name in changed else "ok"
    return RolesReport(
        states,
        done=[step.shown for step in steps if step not in undone],
        lacking=[step.shown for step in undone],
    )
