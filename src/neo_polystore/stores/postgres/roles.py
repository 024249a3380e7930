"""Roles in `auth.roles`, what they allow, and who has them; each tenant sees its own only."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from neo_polystore.errors import (
    ConflictError,
    FieldProblem,
    NotFoundError,
    TenantRequiredError,
    ValidationError,
)
from neo_polystore.pgkit.database import Database
from neo_polystore.ports.accounts import Roles
from neo_polystore.records.accounts import Permission, Role
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.base import TENANT

_DEFINE = """
INSERT INTO auth.permissions AS p (name, resource, action, description) VALUES ($1, $2, $3, $4)
ON CONFLICT (name) DO UPDATE SET description = excluded.description
WHERE (p.resource, p.action) = (excluded.resource, excluded.action)
RETURNING id
"""
_CREATE = (
    f"INSERT INTO auth.roles (id, tenant_id, name, description) VALUES ($1, {TENANT}, $2, $3)"
    " ON CONFLICT DO NOTHING"
)
_DELETE = """
WITH r AS (SELECT id, is_system FROM auth.roles WHERE name = $1),
gone AS (DELETE FROM auth.roles o USING r WHERE o.id = r.id AND NOT r.is_system)
SELECT is_system FROM r
"""
_GRANT = f"""
WITH r AS (SELECT id FROM auth.roles WHERE name = $1),
p AS (SELECT id FROM auth.permissions WHERE name = $2),
added AS (
    INSERT INTO auth.role_permissions (tenant_id, role_id, permission_id)
    SELECT {TENANT}, r.id, p.id FROM r, p ON CONFLICT DO NOTHING
)
SELECT EXISTS (SELECT FROM r) AS role, EXISTS (SELECT FROM p) AS permission
"""
_WITHDRAW = """
WITH r AS (SELECT id FROM auth.roles WHERE name = $1),
p AS (SELECT id FROM auth.permissions WHERE name = $2),
gone AS (
    DELETE FROM auth.role_permissions o USING r, p
    WHERE o.role_id = r.id AND o.permission_id = p.id
)
SELECT EXISTS (SELECT FROM r) AS role, EXISTS (SELECT FROM p) AS permission
"""
_ASSIGN = f"""
WITH u AS (SELECT id FROM auth.users WHERE id = $1 AND deleted_at IS NULL),
r AS (SELECT id FROM auth.roles WHERE name = $2),
g AS (SELECT FROM auth.users WHERE id = $4),
added AS (
    INSERT INTO auth.user_roles (tenant_id, user_id, role_id, expires_at, granted_by)
    SELECT {TENANT}, u.id, r.id, $3::timestamptz, $4::uuid FROM u, r
    WHERE $4 IS NULL OR EXISTS (SELECT FROM g)
    ON CONFLICT (user_id, role_id) DO UPDATE SET granted_at = CURRENT_TIMESTAMP,
        granted_by = excluded.granted_by, expires_at = excluded.expires_at
)
SELECT EXISTS (SELECT FROM u) AS user, EXISTS (SELECT FROM r) AS role,
    $4 IS NULL OR EXISTS (SELECT FROM g) AS granter
"""
_UNASSIGN = """
WITH u AS (SELECT id FROM auth.users WHERE id = $1 AND deleted_at IS NULL),
r AS (SELECT id FROM auth.roles WHERE name = $2),
gone AS (DELETE FROM auth.user_roles o USING u, r WHERE o.user_id = u.id AND o.role_id = r.id)
SELECT EXISTS (SELECT FROM u) AS user, EXISTS (SELECT FROM r) AS role
"""
_HELD = """
FROM auth.user_roles h
JOIN auth.users u ON u.id = h.user_id AND u.deleted_at IS NULL AND u.status = 'active'
JOIN auth.roles r ON r.id = h.role_id
"""
_HELD_NOW = "WHERE h.user_id = $1 AND (h.expires_at IS NULL OR h.expires_at > clock_timestamp())"
_ROLES_OF = f"SELECT r.id, r.name, r.description {_HELD} {_HELD_NOW} ORDER BY r.name"
_PERMISSIONS_OF = f"""
SELECT DISTINCT p.name, p.resource, p.action, p.description {_HELD}
JOIN auth.role_permissions x ON x.role_id = r.id
JOIN auth.permissions p ON p.id = x.permission_id
{_HELD_NOW} ORDER BY p.name
"""


class PgRoles:
    """One statement per verb, within the scope of the accounts that it belongs to."""

    def __init__(self, database: Database, scope: Scope):
        self._database = database
        self._scope = scope

    async def define(self, permission: Permission) -> None:
        """Permissions have no tenant, but whoever defines one acts for some."""
        values = (permission.name, permission.resource, permission.action, permission.description)
        if not await self._change("define", _DEFINE, *values):
            raise ConflictError(
                f"the permission {permission.name!r} means another resource or action",
                store=self._database.store,
                operation="roles.define",
            )

    async def create(self, role: Role) -> None:
        """ON CONFLICT answers for name and id alike."""
        self._require_tenant("create")
        async with self._database.statement("roles.create", self._scope) as connection:
            status = await connection.execute(_CREATE, role.id, role.name, role.description)
        if status.endswith(" 0"):
            raise ConflictError(f"the tenant has a role {role.name!r}", store=self._database.store)

    async def delete(self, role: str) -> None:
        """Takes grants and assignments along."""
        rows = await self._change("delete", _DELETE, role)
        if not rows:
            raise self._missing(f"role {role!r}")
        if rows[0]["is_system"]:
            raise ConflictError(f"{role!r} is a system role: it stays", store=self._database.store)

    async def roles(self) -> list[Role]:
        """The tenant's roles by name."""
        rows = await self._read("roles", "SELECT id, name, description FROM auth.roles ORDER BY 2")
        return [Role.model_validate(dict(row)) for row in rows]

    async def grant(self, role: str, permission: str) -> None:
        """Let a role do something."""
        named = {"role": role, "permission": permission}
        self._all_there(await self._change("grant", _GRANT, role, permission), named)

    async def withdraw(self, role: str, permission: str) -> None:
        """The opposite of `grant`."""
        named = {"role": role, "permission": permission}
        self._all_there(await self._change("withdraw", _WITHDRAW, role, permission), named)

    async def assign(
        self,
        user: UUID,
        role: str,
        *,
        expires_at: datetime | None = None,
        granted_by: UUID | None = None,
    ) -> None:
        """Give a user a role."""
        if expires_at is not None and expires_at.tzinfo is None:
            raise ValidationError([FieldProblem("expires_at", "has no time zone")])
        rows = await self._change("assign", _ASSIGN, user, role, expires_at, granted_by)
        self._all_there(rows, {"user": user, "role": role, "granter": granted_by})

    async def unassign(self, user: UUID, role: str) -> None:
        """Take a role from a user."""
        rows = await self._change("unassign", _UNASSIGN, user, role)
        self._all_there(rows, {"user": user, "role": role})

    async def roles_of(self, user: UUID) -> list[Role]:
        """The roles that a user has now."""
        rows = await self._read("roles_of", _ROLES_OF, user)
        return [Role.model_validate(dict(row)) for row in rows]

    async def permissions_of(self, user: UUID) -> list[Permission]:
        """What these roles let him do."""
        rows = await self._read("permissions_of", _PERMISSIONS_OF, user)
        return [Permission.model_validate(dict(row)) for row in rows]

    async def _read(self, verb: str, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self._database.reading(f"roles.{verb}", self._scope) as connection:
            return await connection.fetch(sql, *arguments)

    async def _change(self, verb: str, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        self._require_tenant(verb)
        async with self._database.statement(f"roles.{verb}", self._scope) as connection:
            return await connection.fetch(sql, *arguments)

    def _all_there(self, rows: list[asyncpg.Record], named: dict[str, Any]) -> None:
        for what, name in named.items():
            if not rows[0][what]:
                raise self._missing(f"{what} {str(name)!r}")

    def _missing(self, what: str) -> NotFoundError:
        return NotFoundError(f"the tenant has no {what}", store=self._database.store)

    def _require_tenant(self, verb: str) -> None:
        if self._scope.tenant is None:
            raise TenantRequiredError(
                "roles belong to a tenant and this call has none",
                store=self._database.store,
                operation=f"roles.{verb}",
            )


_: type[Roles] = PgRoles
