"""Users in `auth.users`, each seen by its own tenant only, and the tenants themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from pydantic import SecretStr

from neo_polystore.errors import ConflictError
from neo_polystore.pgkit.select import Column, Selection
from neo_polystore.ports.accounts import Accounts
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.results import Written
from neo_polystore.stores.postgres import passwords
from neo_polystore.stores.postgres.api_keys import PgApiKeys
from neo_polystore.stores.postgres.base import TENANT, PgRecords
from neo_polystore.stores.postgres.logins import Logins
from neo_polystore.stores.postgres.merge import Merge, Refusal, merge
from neo_polystore.stores.postgres.roles import PgRoles
from neo_polystore.stores.postgres.sessions import PgSessions
from neo_polystore.stores.postgres.tenants import PgTenants

EMAIL = Refusal("email", "another user of the tenant has it")
USERNAME = Refusal("username", "another user of the tenant has it")
NO_TENANT = Refusal("record", "the tenant does not exist: create it first")

SQL = f"""
WITH incoming AS MATERIALIZED (SELECT * FROM {{incoming}}),
judged AS MATERIALIZED (
    SELECT i.*, u.id AS present, u.deleted_at IS NOT NULL AS deleted,
        row_number() OVER (PARTITION BY i.email ORDER BY i.index) > 1 OR EXISTS (
            SELECT FROM auth.users o WHERE o.email = i.email AND o.id <> i.id) AS email_taken,
        row_number() OVER (PARTITION BY i.username ORDER BY i.index) > 1 OR EXISTS (
            SELECT FROM auth.users o WHERE o.username = i.username AND o.id <> i.id) AS name_taken
    FROM incoming i LEFT JOIN auth.users u USING (id)
),
inserted AS (
    INSERT INTO auth.users (id, tenant_id, email, username, password_hash, status,
        email_verified, mfa_enabled)
    SELECT j.id, {TENANT}, j.email, j.username, COALESCE(j.password_hash, '{passwords.UNUSABLE}'),
        j.status, j.email_verified, j.mfa_enabled
    FROM judged j WHERE j.present IS NULL AND NOT j.email_taken AND NOT j.name_taken
    ORDER BY j.id ON CONFLICT DO NOTHING RETURNING id
),
updated AS (
    UPDATE auth.users u
    SET email = j.email, username = j.username, status = j.status,
        email_verified = j.email_verified, mfa_enabled = j.mfa_enabled,
        password_hash = COALESCE(j.password_hash, u.password_hash)
    FROM judged j
    WHERE u.id = j.present AND NOT j.deleted AND NOT j.email_taken AND NOT j.name_taken
      AND (u.email, u.username, u.status, u.email_verified, u.mfa_enabled, u.password_hash)
        IS DISTINCT FROM (j.email, j.username, j.status, j.email_verified, j.mfa_enabled,
            COALESCE(j.password_hash, u.password_hash))
    RETURNING u.id
)
SELECT j.index, CASE
    WHEN j.deleted THEN 'deleted'
    WHEN j.email_taken THEN 'email'
    WHEN j.name_taken THEN 'username'
    WHEN a.id IS NOT NULL THEN 'new'
    WHEN b.id IS NOT NULL THEN 'replaced'
    WHEN j.present IS NOT NULL THEN 'existing'
    ELSE 'unseen' END AS outcome
FROM judged j LEFT JOIN inserted a USING (id) LEFT JOIN updated b USING (id)
"""


class PgAccounts(PgRecords[User]):
    """Users of the scope's tenant by id. Deleting one marks it and releases its names."""

    selection = Selection(
        record=User,
        source="auth.users u",
        columns={
            "id": Column("u.id", "uuid"),
            "email": Column("u.email", "text"),
            "username": Column("u.username", "text"),
            "status": Column("u.status", "text"),
            "email_verified": Column("u.email_verified", "boolean"),
            "mfa_enabled": Column("u.mfa_enabled", "boolean"),
        },
        key=(Column("u.id", "uuid"),),
        fixed="u.deleted_at IS NULL",
    )
    lookup = "FROM auth.users u WHERE u.id = $1 AND u.deleted_at IS NULL"
    removal = "UPDATE auth.users SET deleted_at = now() WHERE id = $1 AND deleted_at IS NULL"
    tenant_owned = True
    merge = Merge(
        name="accounts",
        columns={
            "id": "uuid",
            "email": "text",
            "username": "text",
            "status": "text",
            "email_verified": "boolean",
            "mfa_enabled": "boolean",
            "password_hash": "text",
        },
        sql=SQL,
        row=lambda user: _row(user, None),
        refusals={
            "email": EMAIL,
            "username": USERNAME,
            "deleted": Refusal("id", "the user has been deleted"),
            "unseen": Refusal("id", "the id is taken"),
        },
        constraints={
            "users_email_unique": EMAIL,
            "users_username_unique": USERNAME,
            "users_tenant_id_fkey": NO_TENANT,
        },
    )

    async def write(self, records: Sequence[User]) -> Written:
        """Store users; one that comes without a password keeps the one it has."""
        self.require_tenant("write")
        hashes = await self._hashes([user for user in records if user.password is not None])
        spec = replace(self.merge, row=lambda user: _row(user, hashes.get(_secret(user))))
        return await merge(self.database, self.scope, spec, records)

    async def create_tenant(self, tenant: Tenant) -> None:
        """Store a new tenant, acting as that tenant. Raises ConflictError; see the port."""
        scope = replace(self.scope, tenant=tenant.id)
        written = await PgTenants(self.database, scope).write([tenant])
        if written.new == 0:
            what = written.rejected[0].field if written.rejected else "id"
            raise ConflictError(
                f"{what} is taken", store=self.database.store, operation="accounts.create_tenant"
            )

    async def get_tenant(self) -> Tenant:
        """The scope's own tenant; raises NotFoundError where there is none."""
        return await PgTenants(self.database, self.scope).get(str(self.scope.tenant))

    @property
    def roles(self) -> PgRoles:
        """Roles and permissions, within the same scope."""
        return PgRoles(self.database, self.scope)

    @property
    def sessions(self) -> PgSessions:
        """Logins, within the same scope."""
        return PgSessions(self.database, self.scope)

    @property
    def api_keys(self) -> PgApiKeys:
        """Keys of programs, within the same scope."""
        return PgApiKeys(self.database, self.scope)

    async def verify_password(self, username: str, password: str) -> User:
        """The active user with this name and password; NotFoundError for all else."""
        return await self.get(str(await self._logins.password(username, password)))

    async def set_mfa_secret(self, user: UUID, secret: bytes | None) -> None:
        """Store the secret of a user's authenticator, encrypted."""
        self.require_tenant("set_mfa_secret")
        await self._logins.set_secret(user, secret)

    async def mfa_uri(self, user: UUID, *, issuer: str) -> SecretStr:
        """The `otpauth://` address of a user's secret."""
        return await self._logins.uri(user, issuer)

    async def verify_totp(self, user: UUID, code: str) -> User:
        """The active user whose authenticator shows this code; NotFoundError for all else."""
        await self._logins.code(user, code)
        return await self.get(str(user))

    @property
    def _logins(self) -> Logins:
        return Logins(self.database, self.scope)

    async def _hashes(self, users: Sequence[User]) -> dict[tuple[UUID, str], str]:
        """New hashes, by id and password, of those whose password is not the stored one."""
        if not users:
            return {}
        sql = "SELECT id, password_hash FROM auth.users WHERE id = ANY($1)"
        rows = await self._fetch("write", sql, [[user.id for user in users]])
        stored = {row["id"]: row["password_hash"] for row in rows}
        return await asyncio.to_thread(_changed, {_secret(user) for user in users}, stored)

    def identify(self, key: str) -> tuple[Any, ...]:
        """The user's id."""
        try:
            return (UUID(key),)
        except ValueError:
            raise self.missing(key) from None


def _secret(user: User) -> tuple[UUID, str]:
    return user.id, user.password.get_secret_value() if user.password else ""


def _changed(
    secrets: set[tuple[UUID, str]], stored: dict[UUID, str]
) -> dict[tuple[UUID, str], str]:
    return {
        (identity, password): passwords.hashed(password)
        for identity, password in secrets
        if identity not in stored or not passwords.matches(stored[identity], password)
    }


def _row(user: User, password_hash: str | None) -> tuple[Any, ...]:
    return (
        user.id,
        user.email,
        user.username,
        user.status,
        user.email_verified,
        user.mfa_enabled,
        password_hash,
    )


_: type[Accounts] = PgAccounts
