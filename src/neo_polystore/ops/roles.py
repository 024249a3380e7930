"""The roles and databases of a PostgreSQL server that we administer: what is there, what lacks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from neo_polystore.errors import ConfigError
from neo_polystore.ops.role_names import (
    database_names,
    given_passwords,
    required_roles,
    wanted_roles,
)
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.quoting import name
from neo_polystore.pgkit.role_setup import (
    Step,
    apply,
    lacking,
    lacking_databases,
    lacking_extensions,
)
from neo_polystore.pgkit.roles import APPLICATION, OWNER, RELAY, SERVICES
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

_MEMBERSHIPS = """
SELECT u.rolname AS member, g.rolname AS granted FROM pg_auth_members m
JOIN pg_roles u ON u.oid = m.member JOIN pg_roles g ON g.oid = m.roleid
WHERE u.rolname = ANY($1) ORDER BY 1, 2
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


async def create_roles(
    settings: Settings, admin_url: str, *, databases: bool = False, dry_run: bool = False
) -> RolesReport:
    """Make what lacks, as far as this administrator may; the rest is in the report's `lacking`.

    With `databases` also the databases and their extensions. Raises UnavailableError, and
    ConfigError for a URL that is none or settings that name a superuser.
    """
    wanted = wanted_roles(settings)
    async with _connected(admin_url) as connection:
        if not dry_run:  # two at once would make the same roles; the lock ends with the connection
            await connection.execute("SELECT pg_advisory_lock(hashtext('neo-polystore'))")
        await _refuse_superusers(connection, settings)
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
    """Compare, over the connection of any role; nothing is changed.

    Raises ConfigError where the settings name a superuser for something that none may do.
    """
    await _refuse_superusers(connection, settings)
    steps = await lacking(connection, wanted_roles(settings))
    if settings.neo_profile == "server":  # the embedded one makes each when it is first needed
        steps += await lacking_databases(
            connection, database_names(settings), owner=settings.postgres_owner
        )
    steps += await _excess(connection, settings)
    rows = await connection.fetch("SELECT rolname FROM pg_roles")
    present = {row["rolname"] for row in rows}
    needed = required_roles(settings)
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
    """What must be taken from the roles that serve, and from the users of single services."""
    serving = [settings.postgres_user, settings.postgres_relay, APPLICATION, RELAY]
    owners = [settings.postgres_owner, OWNER]
    rows = await connection.fetch(_EXCESS, serving, owners)
    rows += await connection.fetch(_MEMBERSHIPS, list(SERVICES.values()))
    found = [
        (row["member"], f"REVOKE {name(row['granted'])} FROM {name(row['member'])}") for row in rows
    ]
    return [Step(member, sql, sql) for member, sql in found]


async def _refuse_superusers(connection: Connection, settings: Settings) -> None:
    """An administrator is not made an ordinary role because a setting names him."""
    names = {
        "POSTGRES_USER": settings.postgres_user,
        "POSTGRES_OWNER": settings.postgres_owner,
        "POSTGRES_RELAY": settings.postgres_relay,
    }
    rows = await connection.fetch(
        "SELECT rolname FROM pg_roles WHERE rolsuper AND rolname = ANY($1)", list(names.values())
    )
    mighty = {row["rolname"] for row in rows}
    if found := [f"{variable}={role}" for variable, role in names.items() if role in mighty]:
        raise ConfigError(
            f"{', '.join(found)}: a superuser can serve nothing and own nothing here; name another"
            " role, which this makes, and give the superuser in NEO_ADMIN_URL only",
            store=STORE,
            operation="roles",
        )


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
