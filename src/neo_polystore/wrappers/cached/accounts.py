"""Users and their sessions through a cache."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

from pydantic import SecretStr

from neo_polystore.ports.accounts import Accounts, ApiKeys, Roles, Sessions
from neo_polystore.ports.cache import Place
from neo_polystore.records.accounts import Session, Tenant, User, user_group
from neo_polystore.wrappers.cached.records import CachedRecords
from neo_polystore.wrappers.cached.sessions import CachedSessions
from neo_polystore.wrappers.cached.wanted import Wanted


class CachedAccounts(CachedRecords[User, Accounts]):
    """Users; tenants themselves and passwords always come from the primary."""

    canonical: ClassVar[re.Pattern[str]] = re.compile(
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    )

    async def create_tenant(self, tenant: Tenant) -> None:
        """To the primary."""
        await self.primary.create_tenant(tenant)

    async def get_tenant(self) -> Tenant:
        """From the primary."""
        return await self.primary.get_tenant()

    async def verify_password(self, username: str, password: str) -> User:
        """From the primary: a verdict that a cache must not give."""
        return await self.primary.verify_password(username, password)

    @property
    def roles(self) -> Roles:
        """The primary's."""
        return self.primary.roles

    @property
    def api_keys(self) -> ApiKeys:
        """The primary's."""
        return self.primary.api_keys

    @property
    def sessions(self) -> Sessions:
        """Read through the cache; what ends one is seen by every process at once."""
        return CachedSessions(self.primary.sessions, self)

    def of_session(self, session: UUID) -> Place:
        """Where a session is cached."""
        return self._cache.in_family("session", str(session))

    def of_group(self, group: str) -> Place:
        """The tag of a group of users' sessions."""
        return self.tag(f"sessions-{group}")

    async def read_session(self, wanted: Wanted[Session]) -> Session | None:
        """Through the cache, where there is a tenant and no unit of work."""
        if self._past_cache:
            return await wanted.load()
        owner = f"{self._owner} {wanted.owner}"
        return (await self._reading.get(replace(wanted, owner=owner))).record

    def places(self, keys: Iterable[str]) -> list[Place]:
        """With a user change the sessions that he may hold no longer."""
        keys = list(keys)
        groups = {user_group(UUID(key)) for key in keys if self.canonical.fullmatch(key)}
        return super().places(keys) + [self.of_group(group) for group in groups]

    async def set_mfa_secret(self, user: UUID, secret: bytes | None) -> None:
        """To the primary, then invalidate the user, who shows whether a code is asked for."""
        async with self.changing([str(user)]):
            await self.primary.set_mfa_secret(user, secret)

    async def mfa_uri(self, user: UUID, *, issuer: str) -> SecretStr:
        """From the primary."""
        return await self.primary.mfa_uri(user, issuer=issuer)

    async def verify_totp(self, user: UUID, code: str) -> User:
        """From the primary."""
        return await self.primary.verify_totp(user, code)


if TYPE_CHECKING:
    _: type[Accounts] = CachedAccounts
