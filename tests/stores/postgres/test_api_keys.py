"""API keys at rest: no secret in the table, no other tenant's rows, none ever deleted."""

from __future__ import annotations

from uuid import uuid4

import pytest

from neo_polystore.errors import NotFoundError, TenantRequiredError
from neo_polystore.pgkit.database import Database
from neo_polystore.records.accounts import ApiKey, Tenant
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.stores.postgres.accounts import PgAccounts
from neo_polystore.stores.postgres.store import PostgresStore


@pytest.fixture
async def scope(postgres: PostgresStore) -> Scope:
    """A tenant of the test's own."""
    tenant = Tenant(name="keys", identifier=f"k-{uuid4().hex[:12]}")
    await postgres.port("accounts").create_tenant(tenant)
    return Scope(tenant=tenant.id, user="ann")


def accounts(store: PostgresStore, scope: Scope) -> PgAccounts:
    found: PgAccounts = store.port("accounts").within(scope)
    return found


async def test_the_table_holds_a_hash_and_no_key(postgres: PostgresStore, scope: Scope) -> None:
    keys = accounts(postgres, scope).api_keys
    made = await keys.create(ApiKey(name="importer", roles=("service",)))
    assert made.api_key.created_by == "ann"
    database: Database = keys._database
    async with database.reading("test", scope) as connection:
        rows = await connection.fetch("SELECT * FROM auth.api_keys")
    assert [len(row["key_hash"]) for row in rows] == [64]
    assert made.token.get_secret_value().rpartition(".")[2] not in str(dict(rows[0]))
    assert await keys.find(made.token.get_secret_value()) == made.api_key


async def test_a_key_is_found_within_its_own_tenant_only(
    postgres: PostgresStore, scope: Scope
) -> None:
    made = await accounts(postgres, scope).api_keys.create(ApiKey(name="a"))
    for other in (Scope(tenant=uuid4()), NOBODY):
        with pytest.raises(NotFoundError):
            await accounts(postgres, other).api_keys.find(made.token.get_secret_value())
    assert await accounts(postgres, NOBODY).api_keys.list() == []
    with pytest.raises(TenantRequiredError):
        await accounts(postgres, NOBODY).api_keys.create(ApiKey(name="a"))


async def test_revoking_ends_a_key_once_and_looking_first_ends_nothing(
    postgres: PostgresStore, scope: Scope
) -> None:
    keys = accounts(postgres, scope).api_keys
    made = await keys.create(ApiKey(name="a"))
    await keys.revoke(made.api_key.id, dry_run=True)
    assert await keys.find(made.token.get_secret_value())
    await keys.revoke(made.api_key.id)
    for dry_run in (True, False):
        with pytest.raises(NotFoundError):
            await keys.revoke(made.api_key.id, dry_run=dry_run)
    with pytest.raises(NotFoundError):
        await keys.find(made.token.get_secret_value())
    assert [key.revoked_at is not None for key in await keys.list()] == [True]
