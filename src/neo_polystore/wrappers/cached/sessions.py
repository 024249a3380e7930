"""Sessions through the cache: `auth.sessions` alone decides, `session:{id}` remembers its answer.

A token names its session, so the entry is found by it; the entry is bound to the token's hash, so
only the token that proved the session once is answered from it. Failed look-ups are not cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from neo_polystore.errors import NotFoundError
from neo_polystore.ports.accounts import Sessions
from neo_polystore.ports.cache import Place
from neo_polystore.records.accounts import OpenSession, Session, named_in, user_group
from neo_polystore.wrappers.cached.wanted import Wanted


class SessionPlaces(Protocol):
    """What a port of accounts offers its sessions."""

    def of_session(self, session: UUID) -> Place:
        """Where a session is cached."""

    def of_group(self, group: str) -> Place:
        """The tag of a group of users' sessions."""

    def changing_places(self, places: list[Place]) -> AbstractAsyncContextManager[None]:
        """Around a call to the primary that ends what is there."""

    async def read_session(self, wanted: Wanted[Session]) -> Session | None:
        """Read through the cache."""


class CachedSessions:
    """`Sessions` over the primary's, within the same scope or unit of work."""

    def __init__(
        self,
        primary: Sessions,
        accounts: SessionPlaces,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._primary = primary
        self._accounts = accounts
        self._now = now

    async def open(
        self,
        user: UUID,
        *,
        ip_address: IPv4Address | IPv6Address,
        user_agent: str | None = None,
    ) -> OpenSession:
        """Begin a session; nothing is cached of one that nobody has found yet."""
        return await self._primary.open(user, ip_address=ip_address, user_agent=user_agent)

    async def find(self, token: str) -> Session:
        """The session that this token proves."""
        named = named_in(token)
        if named is None:
            return await self._primary.find(token)
        session, group = named
        wanted = Wanted(
            place=self._accounts.of_session(session),
            owner=hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest(),
            model=Session,
            load=lambda: self._found(token),
            cacheable=lambda found: (
                found is not None and found.id == session and user_group(found.user_id) == group
            ),
            tags=(self._accounts.of_group(group).key,),
        )
        found = await self._accounts.read_session(wanted)
        if found is None or found.expires_at <= self._now():
            return await self._primary.find(token)
        return found

    async def refresh(self, refresh_token: str) -> OpenSession:
        """The same session under new tokens; the old ones are void in every process."""
        named = named_in(refresh_token)
        places = [self._accounts.of_session(named[0])] if named else []
        async with self._accounts.changing_places(places):
            return await self._primary.refresh(refresh_token)

    async def of(self, user: UUID) -> list[Session]:
        """A user's sessions that hold now, from the primary."""
        return await self._primary.of(user)

    async def revoke(self, session: UUID) -> None:
        """End a session now, in every process."""
        async with self._accounts.changing_places([self._accounts.of_session(session)]):
            await self._primary.revoke(session)

    async def revoke_all(self, user: UUID) -> int:
        """End all sessions of a user now, in every process."""
        async with self._accounts.changing_places([self._accounts.of_group(user_group(user))]):
            return await self._primary.revoke_all(user)

    async def _found(self, token: str) -> Session | None:
        try:
            return await self._primary.find(token)
        except NotFoundError:
            return None


if TYPE_CHECKING:
    _: type[Sessions] = CachedSessions
