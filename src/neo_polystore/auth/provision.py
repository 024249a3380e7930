"""Making API keys, and users who have roles: what the CLI and the API have in common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from neo_polystore.auth.permissions import ROLES
from neo_polystore.errors import (
    ConflictError,
    FieldProblem,
    ForbiddenError,
    NotFoundError,
    ValidationError,
)
from neo_polystore.ports.accounts import Accounts
from neo_polystore.records.accounts import ApiKey, NewApiKey, Role, User
from neo_polystore.records.scope import Scope


async def create_api_key(
    accounts: Accounts,
    scope: Scope,
    *,
    name: str,
    roles: Sequence[str],
    service: str | None = None,
    expires_at: datetime | None = None,
    may_name_services: bool,
) -> NewApiKey:
    """A new key of the scope's tenant.

    What belongs to a service is no single tenant's, so not everybody may name one: ForbiddenError.
    """
    require_roles(roles)
    if service is not None and not may_name_services:
        raise ForbiddenError("only the platform's own tenant gives keys a service")
    values = {
        "name": name,
        "roles": tuple(dict.fromkeys(roles)),
        "service": service,
        "expires_at": expires_at,
        "created_by": scope.user,
    }
    return await accounts.within(scope).api_keys.create(ApiKey.parse(values))


async def create_user(accounts: Accounts, user: User, roles: Sequence[str]) -> None:
    """Store a user of the scope's tenant and give him roles, which are made where they are not
    there yet. ConflictError where his name or email is taken."""
    require_roles(roles)
    written = await accounts.write([user])
    for rejection in written.rejected:
        raise ConflictError(f"{rejection.field}: {rejection.reason}")
    await assign_roles(accounts, user, roles)


async def assign_roles(accounts: Accounts, user: User, roles: Sequence[str]) -> None:
    """Give a user roles of the API; they hold beside those that he has."""
    require_roles(roles)
    for name in roles:
        try:
            await accounts.roles.assign(user.id, name)
        except NotFoundError:
            await accounts.roles.create(Role(name=name, description=ROLES[name]))
            await accounts.roles.assign(user.id, name)


def require_roles(roles: Sequence[str]) -> None:
    """Raise ValidationError for what is no role of the API."""
    if unknown := sorted(set(roles) - set(ROLES)):
        reason = f"no role {', '.join(unknown)}; there are {', '.join(ROLES)}"
        raise ValidationError([FieldProblem("roles", reason)])
