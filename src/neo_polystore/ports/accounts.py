"""Accounts: tenants and their users, what these may do, and the sessions in which they do it."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol
from uuid import UUID

from pydantic import SecretStr

from neo_polystore.ports.records import Records
from neo_polystore.records.accounts import (
    ApiKey,
    NewApiKey,
    OpenSession,
    Permission,
    Role,
    Session,
    Tenant,
    User,
)


class Roles(Protocol):
    """Who may do what, within the scope's tenant; permissions themselves are common to all.

    Everything here is idempotent: saying again what holds changes nothing. Roles and permissions
    go by their names, users by their ids. What is named must be there: NotFoundError.
    TenantRequiredError without a tenant.
    """

    async def define(self, permission: Permission) -> None:
        """Store a permission, or its new description.

        ConflictError where its resource and action have another name, or its name means others.
        """

    async def create(self, role: Role) -> None:
        """Store a new role; ConflictError where the name is taken."""

    async def delete(self, role: str) -> None:
        """Take a role away from everybody and delete it; ConflictError for a system role."""

    async def roles(self) -> list[Role]:
        """The tenant's roles by name."""

    async def grant(self, role: str, permission: str) -> None:
        """Let a role do something."""

    async def withdraw(self, role: str, permission: str) -> None:
        """The opposite of `grant`; harmless where it was not granted."""

    async def assign(
        self,
        user: UUID,
        role: str,
        *,
        expires_at: datetime | None = None,
        granted_by: UUID | None = None,
    ) -> None:
        """Give a user a role, until `expires_at` (None: for good), which replaces an older end."""

    async def unassign(self, user: UUID, role: str) -> None:
        """Take a role from a user; harmless where he does not have it."""

    async def roles_of(self, user: UUID) -> list[Role]:
        """The roles that a user has now, by name; none for one that is deleted or not active."""

    async def permissions_of(self, user: UUID) -> list[Permission]:
        """What these roles let him do, by name, each once."""


class Sessions(Protocol):
    """Logins of the scope's tenant. Tokens are random and stored as SHA-256 hashes only.

    A token names its session and a group of users in clear (`records.accounts.named_in`), which
    says where a cache keeps the session and proves nothing.
    """

    async def open(
        self,
        user: UUID,
        *,
        ip_address: IPv4Address | IPv6Address,
        user_agent: str | None = None,
    ) -> OpenSession:
        """Begin a session of an active user; NotFoundError for any other."""

    async def find(self, token: str) -> Session:
        """The session that this token proves.

        NotFoundError where there is none, it has expired or was revoked, its user is not active
        any more, or another tenant's.
        """

    async def refresh(self, refresh_token: str) -> OpenSession:
        """The same session under new tokens, with a new time to run; the old tokens are void.

        NotFoundError as for `find`, only that a refresh token holds longer than its session.
        """

    async def of(self, user: UUID) -> list[Session]:
        """A user's sessions that hold now, newest first."""

    async def revoke(self, session: UUID) -> None:
        """End a session now; NotFoundError where none of this id can still be used."""

    async def revoke_all(self, user: UUID) -> int:
        """End all sessions of a user now; how many there were."""


class ApiKeys(Protocol):
    """Keys of the scope's tenant. They are random and stored as SHA-256 hashes only."""

    async def create(self, api_key: ApiKey) -> NewApiKey:
        """Store a new key. ConflictError where the name was given before, were it to a revoked
        one; TenantRequiredError without a tenant."""

    async def find(self, token: str) -> ApiKey:
        """The key that this token is; NotFoundError where there is none, or it has ended."""

    async def list(self) -> list[ApiKey]:
        """All of the tenant's keys, also those that have ended, newest first."""

    async def revoke(self, api_key: UUID, *, dry_run: bool = False) -> None:
        """End a key now, or only look; NotFoundError where none of this id is still valid."""


class Accounts(Records[User], Protocol):
    """Users of the scope's tenant; mutable. A taken email or user name rejects the record.

    Passwords are stored as argon2id hashes and never come back.
    """

    @property
    def roles(self) -> Roles:
        """Roles and permissions, within the same scope."""

    @property
    def sessions(self) -> Sessions:
        """Logins, within the same scope."""

    @property
    def api_keys(self) -> ApiKeys:
        """Keys of programs, within the same scope."""

    async def create_tenant(self, tenant: Tenant) -> None:
        """Store a new tenant. Raises ConflictError where id or identifier is taken."""

    async def get_tenant(self) -> Tenant:
        """The scope's own tenant. Raises NotFoundError where there is none."""

    async def verify_password(self, username: str, password: str) -> User:
        """The user, where the password is right; NotFoundError for all else, equally slow.

        Wrong passwords in a row are counted and lock the user for a while (see the settings
        NEO_LOGIN_...), in which the right one is refused as well; one that is accepted begins
        the count anew. However many callers guess at once, the right one is refused once that
        many wrong ones were counted. Within a unit of work the count is part of that work, and
        undone with it.
        """

    async def set_mfa_secret(self, user: UUID, secret: bytes | None) -> None:
        """Store the secret of a user's authenticator, encrypted, and demand it (`mfa_enabled`).

        At least 16 bytes (ValidationError); None ends it. Raises NotFoundError, and ConfigError
        where no key to encrypt with is set.
        """

    async def mfa_uri(self, user: UUID, *, issuer: str) -> SecretStr:
        """The `otpauth://` address of his secret, for an authenticator; NotFoundError for none."""

    async def verify_totp(self, user: UUID, code: str) -> User:
        """The active user, where the code is his authenticator's now or up to 30 s ago or ahead.

        NotFoundError for all else. Wrong codes count and lock like wrong passwords. IntegrityError
        where the stored secret cannot be decrypted.
        """
