"""From what a caller sends to who he is: JSON Web Token, API key or session."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from uuid import UUID

from neo_polystore.auth.permissions import ROLES
from neo_polystore.auth.principal import Principal
from neo_polystore.auth.tokens import Tokens
from neo_polystore.errors import NotFoundError, UnauthenticatedError
from neo_polystore.ports.accounts import Accounts
from neo_polystore.records.accounts import API_KEY, api_key_named_in, named_in, tenant_of
from neo_polystore.records.scope import Scope

K = TypeVar("K")
V = TypeVar("V")

MOST: Final = 10_000
"""Verdicts that are remembered; of more, those that were used longest ago are forgotten."""

VOID: Final = "the token is refused: it belongs to nobody, has expired or was revoked"


class Authenticator:
    """Proves callers. What it found out about a token or key it knows for `remember` seconds.

    So long a key that was revoked in another process still opens this one. A session is looked
    up every time, through its cache, which every process invalidates: it ends at once; only the
    roles of its user are remembered. Tokens are kept as hashes.
    """

    def __init__(
        self,
        accounts: Callable[[], Accounts],
        *,
        tokens: Tokens | None = None,
        longest: int = 8_192,
        remember: float = 5.0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._accounts = accounts
        self._tokens = tokens
        self._longest = longest
        self._remember = remember
        self._now = now
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Principal, float, int]] = OrderedDict()
        self._roles: OrderedDict[tuple[UUID | None, UUID], tuple[frozenset[str], float]] = (
            OrderedDict()
        )

    async def principal(self, token: str) -> Principal:
        """Who bears this; UnauthenticatedError, or UnavailableError where nobody can tell now."""
        if len(token) > self._longest:
            raise UnauthenticatedError(
                f"the token is refused: it has more than {self._longest} bytes (NEO_TOKEN_BYTES)"
            )
        if (known := self._recalled(token)) is not None:
            return known
        if not token.isascii():
            raise UnauthenticatedError("the token is refused: it is malformed")
        if named_in(token) is not None:
            return await self._session(token)
        if token.startswith(f"{API_KEY}."):
            return await self._remembered(token, self._api_key)
        if self._tokens is None:
            raise UnauthenticatedError(VOID)
        return await self._remembered(token, self._tokens.principal)

    def forget(self) -> None:
        """Look everything up anew: keys or roles have changed in this process."""
        self._known.clear()
        self._roles.clear()

    def _recalled(self, token: str) -> Principal | None:
        """Whose it was the last time, if that is not long ago; else None."""
        known = self._known.get(_digest(token))
        if known is None or known[1] <= self._clock() or known[2] != self._generation:
            return None
        return self._unexpired(known[0])

    async def _remembered(
        self, token: str, find: Callable[[str], Awaitable[Principal]]
    ) -> Principal:
        generation = self._generation
        found = self._unexpired(await find(token))
        _put(self._known, _digest(token), (found, self._clock() + self._remember, generation))
        return found

    def _unexpired(self, found: Principal) -> Principal:
        if found.expires_at is not None and found.expires_at <= self._now():
            raise UnauthenticatedError("the token is refused: it has expired")
        return found

    @property
    def _generation(self) -> int:
        """Of the keys that tokens are checked with."""
        return self._tokens.generation if self._tokens is not None else 0

    async def _api_key(self, token: str) -> Principal:
        named = api_key_named_in(token)
        if named is None:
            raise UnauthenticatedError(VOID)
        tenant, _ = named
        try:
            found = await self._accounts().within(Scope(tenant=tenant)).api_keys.find(token)
        except NotFoundError:
            raise UnauthenticatedError(VOID) from None
        return Principal(
            Scope(tenant=tenant, service=found.service, user=f"api-key:{found.id}"),
            frozenset(found.roles) & ROLES.keys(),
            "api_key",
            credential=found.id,
            expires_at=found.expires_at.timestamp() if found.expires_at else None,
        )

    async def _session(self, token: str) -> Principal:
        tenant = tenant_of(token)
        if tenant is None:
            raise UnauthenticatedError(VOID)
        accounts = self._accounts().within(Scope(tenant=tenant))
        try:
            session = await accounts.sessions.find(token)
        except NotFoundError:
            raise UnauthenticatedError(VOID) from None
        return Principal(
            Scope(tenant=tenant, user=str(session.user_id)),
            await self._roles_of(accounts, tenant, session.user_id),
            "session",
            credential=session.id,
            expires_at=session.expires_at.timestamp(),
        )

    async def _roles_of(self, accounts: Accounts, tenant: UUID, user: UUID) -> frozenset[str]:
        known = self._roles.get((tenant, user))
        if known is not None and known[1] > self._clock():
            return known[0]
        held = {role.name for role in await accounts.roles.roles_of(user)}
        roles = frozenset(held & ROLES.keys())
        _put(self._roles, (tenant, user), (roles, self._clock() + self._remember))
        return roles


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _put(known: OrderedDict[K, V], key: K, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > MOST:
        known.popitem(last=False)
