"""Direct connections beside the store: as the application, and as the owner of the schema."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.pgkit.database import Connection
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.store import PostgresStore


@pytest_asyncio.fixture
async def application(postgres: PostgresStore) -> AsyncIterator[Connection]:
    """A connection as the application's role, in a transaction that is rolled back."""
    connection = await asyncpg.connect(**postgres.config.connect_arguments())
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest_asyncio.fixture
async def owner(postgres: PostgresStore) -> AsyncIterator[Connection]:
    """A connection as the owner of the schema, in a transaction that is rolled back."""
    connection = await asyncpg.connect(**postgres.config.connect_arguments(as_owner=True))
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest_asyncio.fixture
async def administrator(postgres: PostgresStore, embedded: Membership) -> AsyncIterator[Connection]:
    """A connection as the superuser, who can become any role; rolled back in the end."""
    server = await embedded.ensure("postgres")
    config = postgres.config
    connection = await asyncpg.connect(
        host=config.host,
        port=config.port,
        database=config.database,
        user=server.user,
        password=server.password,
    )
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.fixture
async def tenants(postgres: PostgresStore) -> dict[UUID, User]:
    """Two new tenants with one user each."""
    made: dict[UUID, User] = {}
    for _ in range(2):
        tenant = Tenant(name="Tenant", identifier=f"t-{uuid4().hex}")
        user = User(email=f"{uuid4().hex}@example.org", username=uuid4().hex)
        accounts = postgres.port("accounts")
        await accounts.create_tenant(tenant)
        await accounts.within(Scope(tenant=tenant.id)).write([user])
        made[tenant.id] = user
    return made


async def act_for(connection: Connection, tenant: UUID | str) -> None:
    """Set the tenant until the end of the transaction."""
    await connection.execute("SELECT set_config('app.current_tenant', $1, true)", str(tenant))
