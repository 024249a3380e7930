"""Makes databases and roles on a server that we administer (the embedded one)."""

from __future__ import annotations

import hashlib
import hmac

import asyncpg
from pydantic import SecretStr

from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translated

OWNER, APPLICATION, RETENTION = "neo_owner", "neo_app", "neo_retention"
RELAY = "neo_relay"
ROLES = (OWNER, APPLICATION, RETENTION, RELAY)


async def prepare_database(
    *, host: str, port: int, admin: str, admin_password: str, database: str
) -> PgConfig:
    """Make roles and database where they are missing; answer how the application connects.

    `neo_owner` owns the database and runs migrations; `neo_app` may only use what it is granted;
    `neo_retention` alone may delete what is immutable for everybody else; `neo_relay` reads the
    outbox of all tenants and keeps the scheduler's books.
    Their passwords derive from the administrator's, so that there is one secret to keep. Safe
    to run at every start and from several processes at once.
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
                await _make_database(connection, database)
        finally:
            await connection.close()
        await _make_extensions(administrator.model_copy(update={"database": database}))
    return config


def _derive(secret: str, role: str) -> SecretStr:
    digest = hmac.new(secret.encode(), f"role:{role}".encode(), hashlib.sha256)
    return SecretStr(digest.hexdigest())


async def _complete(connection: asyncpg.Connection[asyncpg.Record], database: str) -> bool:
    roles = await connection.fetchval(
        "SELECT count(*) FROM pg_roles WHERE rolname = ANY($1)", list(ROLES)
    )
    exists = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database)
    return roles == len(ROLES) and exists is not None


async def _make_roles(connection: asyncpg.Connection[asyncpg.Record], secret: str) -> None:
    for role in ROLES:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            # DDL takes no parameters: the server quotes name and password itself
            statement = await connection.fetchval(
                "SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"
                " NOBYPASSRLS PASSWORD %L', $1::text, $2::text)",
                role,
                _derive(secret, role).get_secret_value(),
            )
            await connection.execute(statement)


async def _make_database(connection: asyncpg.Connection[asyncpg.Record], database: str) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
        create = await connection.fetchval(
            "SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0', $1::text, $2::text)",
            database,
            OWNER,
        )
        await connection.execute(create)


PRELOADED = ("pg_stat_statements", "timescaledb")
EXTENSIONS = ("pg_trgm", "btree_gist", "uuid-ossp", "pgcrypto", "pg_stat_statements", "timescaledb")


async def _make_extensions(config: PgConfig) -> None:
    """Create the extensions that the specification names, where the server offers them.

    Only an administrator may create most of them, so they are no part of the migrations.
    TimescaleDB kills the session unless it is preloaded, so that is asked first.
    """
    connection = await asyncpg.connect(**config.connect_arguments())
    try:
        if not await _missing_extensions(connection):
            return
        # two creators at once would collide, in spite of IF NOT EXISTS
        await connection.execute("SELECT pg_advisory_lock(hashtext('neo-polystore'))")
        for name in await _missing_extensions(connection):
            create = await connection.fetchval(
                "SELECT format('CREATE EXTENSION IF NOT EXISTS %I', $1::text)", name
            )
            await connection.execute(create)
    finally:
        await connection.close()


async def _missing_extensions(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    """Those that the server offers and can create now (some must be preloaded)."""
    rows = await connection.fetch(
        "SELECT name FROM pg_available_extensions"
        " WHERE installed_version IS NULL AND name = ANY($1) AND (NOT name = ANY($2)"
        " OR name = ANY(string_to_array(current_setting('shared_preload_libraries'), ',')))",
        list(EXTENSIONS),
        list(PRELOADED),
    )
    return [name for (name,) in rows]
