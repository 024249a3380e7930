"""Makes databases and roles on a server that we administer (the embedded one)."""

from __future__ import annotations

import hashlib
import hmac

import asyncpg
from pydantic import SecretStr

from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.pgkit.role_setup import lacking, lacking_databases, lacking_extensions
from neo_polystore.pgkit.roles import APPLICATION, BACKUP_USER, OWNER, RELAY, RETENTION, ROLES


async def prepare_database(
    *, host: str, port: int, admin: str, admin_password: str, database: str
) -> PgConfig:
    """Make roles and database where they are missing; answer how the application connects.

    What each role is for: see `pgkit/roles.py`. The passwords of those that log in derive from the
    administrator's, so that there is one secret to keep. Safe to run at every start and from
    several processes at once.
    """
    config = PgConfig(
        host=host,
        port=port,
        database=database,
        user=APPLICATION,
        password=_derive(admin_password, APPLICATION),
        owner=OWNER,
        owner_password=_derive(admin_password, OWNER),
        relay=RELAY,
        relay_password=_derive(admin_password, RELAY),
        retention=RETENTION,
        retention_password=_derive(admin_password, RETENTION),
        backup=BACKUP_USER,
        backup_password=_derive(admin_password, BACKUP_USER),
        admin=admin,
        admin_password=SecretStr(admin_password),
    )
    administrator = PgConfig(
        host=host, port=port, database="postgres", user=admin, password=SecretStr(admin_password)
    )
    async with translated("postgres", "prepare database"):
        connection = await asyncpg.connect(**administrator.connect_arguments())
        try:
            if not await _complete(connection, database):
                await connection.execute("SELECT pg_advisory_lock(hashtext('neo-polystore'))")
                await _make_roles(connection, admin_password)
                for step in await lacking_databases(connection, [database], owner=OWNER):
                    await connection.execute(step.sql)
        finally:
            await connection.close()
        await _make_extensions(administrator.model_copy(update={"database": database}))
    return config


def _derive(secret: str, role: str) -> SecretStr:
    digest = hmac.new(secret.encode(), f"role:{role}".encode(), hashlib.sha256)
    return SecretStr(digest.hexdigest())


async def _complete(connection: asyncpg.Connection[asyncpg.Record], database: str) -> bool:
    exists = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database)
    return exists is not None and not await lacking(connection, ROLES)


async def _make_roles(connection: asyncpg.Connection[asyncpg.Record], secret: str) -> None:
    rows = await connection.fetch("SELECT rolname FROM pg_roles")
    present = {name for (name,) in rows}
    passwords = {
        role.name: _derive(secret, role.name).get_secret_value()
        for role in ROLES
        if role.login and role.name not in present
    }
    async with connection.transaction():  # no role is ever there without its membership
        for step in await lacking(connection, ROLES, passwords):
            await connection.execute(step.sql)


async def _make_extensions(config: PgConfig) -> None:
    """Create what `role_setup.EXTENSIONS` names, where the server offers it."""
    connection = await asyncpg.connect(**config.connect_arguments())
    try:
        if not await lacking_extensions(connection):
            return
        # two creators at once would collide, in spite of IF NOT EXISTS
        await connection.execute("SELECT pg_advisory_lock(hashtext('neo-polystore'))")
        for step in await lacking_extensions(connection):
            await connection.execute(step.sql)
    finally:
        await connection.close()
