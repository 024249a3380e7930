"""API keys in `auth.api_keys`, found by the id that each names, proven by the hash of the whole."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from builtins import list as listed
from uuid import UUID

import asyncpg
from pydantic import SecretStr

from neo_polystore.errors import ConflictError, NotFoundError, TenantRequiredError
from neo_polystore.pgkit.database import Database
from neo_polystore.ports.accounts import ApiKeys
from neo_polystore.records.accounts import API_KEY, ApiKey, NewApiKey, api_key_named_in
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.base import TENANT

_COLUMNS = "id, name, service, roles, created_by, created_at, expires_at, revoked_at"
_VALID = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())"

_CREATE = f"""
INSERT INTO auth.api_keys (id, tenant_id, name, key_hash, service, roles, created_by, expires_at)
VALUES ($1, {TENANT}, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
"""
_FIND = f"SELECT {_COLUMNS}, key_hash FROM auth.api_keys WHERE id = $1 AND {_VALID}"
_LIST = f"SELECT {_COLUMNS} FROM auth.api_keys ORDER BY created_at DESC, id DESC"
_VALID_ONE = f"SELECT id FROM auth.api_keys WHERE id = $1 AND {_VALID}"
_REVOKE = (
    f"UPDATE auth.api_keys SET revoked_at = clock_timestamp() WHERE id = $1 AND {_VALID}"
    " RETURNING id"
)


class PgApiKeys:
    """One statement per verb, within the scope of the accounts that it belongs to."""

    def __init__(self, database: Database, scope: Scope):
        self._database = database
        self._scope = scope

    async def create(self, api_key: ApiKey) -> NewApiKey:
        """256 random bits need no salt and no slow hash."""
        tenant = self._tenant("create")
        token = f"{API_KEY}.{tenant.hex}.{api_key.id.hex}.{secrets.token_urlsafe(32)}"
        values = (
            api_key.id,
            api_key.name,
            _hash(token),
            api_key.service,
            [*api_key.roles],
            api_key.created_by or self._scope.user,
            api_key.expires_at,
        )
        async with self._database.statement("api_keys.create", self._scope) as connection:
            row = await connection.fetchrow(_CREATE, *values)
        if row is None:
            raise ConflictError(
                f"the tenant has or had an API key {api_key.name!r}", store=self._database.store
            )
        return NewApiKey(_api_key(row), SecretStr(token))

    async def find(self, token: str) -> ApiKey:
        """Compared in constant time: the row was found by an id that is no secret."""
        named = api_key_named_in(token)
        if named is None or named[0] != self._scope.tenant:
            raise self._missing()
        async with self._database.reading("api_keys.find", self._scope) as connection:
            row = await connection.fetchrow(_FIND, named[1])
        if row is None or not hmac.compare_digest(row["key_hash"], _hash(token)):
            raise self._missing()
        return _api_key(row)

    async def list(self) -> listed[ApiKey]:
        """The tenant's keys."""
        async with self._database.reading("api_keys.list", self._scope) as connection:
            return [_api_key(row) for row in await connection.fetch(_LIST)]

    async def revoke(self, api_key: UUID, *, dry_run: bool = False) -> None:
        """End a key now."""
        self._tenant("revoke")
        async with self._database.statement("api_keys.revoke", self._scope) as connection:
            found = await connection.fetchval(_VALID_ONE if dry_run else _REVOKE, api_key)
        if found is None:
            raise self._missing()

    def _missing(self) -> NotFoundError:
        return NotFoundError("no such API key is valid", store=self._database.store)

    def _tenant(self, verb: str) -> UUID:
        if self._scope.tenant is None:
            raise TenantRequiredError(
                "API keys belong to a tenant and this call has none",
                store=self._database.store,
                operation=f"api_keys.{verb}",
            )
        return self._scope.tenant


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _api_key(row: asyncpg.Record) -> ApiKey:
    return ApiKey.model_validate({name: row[name] for name in ApiKey.model_fields})


_: type[ApiKeys] = PgApiKeys
