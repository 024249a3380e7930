"""Sessions in `auth.sessions`: who holds the token is the user, and the table holds no token.

A token is 256 random bits, so its hash needs no salt and no slowness, and finding it by an index
tells nobody's clock anything: no one can choose what a token's hash begins with.
"""

from __future__ import annotations

import hashlib
import secrets
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

import asyncpg
from pydantic import SecretStr

from neo_polystore.errors import FieldProblem, NotFoundError, TenantRequiredError, ValidationError
from neo_polystore.ids import uuid7
from neo_polystore.pgkit.database import Database
from neo_polystore.ports.accounts import Sessions
from neo_polystore.records.accounts import OpenSession, Session, named_in, session_name
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres.base import TENANT
from neo_polystore.stores.postgres.config import PostgresConfig

_COLUMNS = "s.id, s.user_id, s.ip_address, s.user_agent, s.created_at, s.expires_at"
_ACTIVE = "u.deleted_at IS NULL AND u.status = 'active'"

_OPEN = f"""
INSERT INTO auth.sessions AS s (id, tenant_id, user_id, token_hash, refresh_token_hash, ip_address,
    user_agent, expires_at)
SELECT $2, {TENANT}, u.id, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7)
FROM auth.users u WHERE u.id = $1 AND {_ACTIVE}
RETURNING {_COLUMNS}
"""
_FIND = f"""
SELECT {_COLUMNS} FROM auth.sessions s JOIN auth.users u ON u.id = s.user_id AND {_ACTIVE}
WHERE s.token_hash = $1 AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
"""
_REFRESH = f"""
UPDATE auth.sessions s SET token_hash = $2, refresh_token_hash = $3,
    expires_at = clock_timestamp() + make_interval(secs => $4)
FROM auth.users u
WHERE u.id = s.user_id AND {_ACTIVE} AND s.refresh_token_hash = $1 AND s.revoked_at IS NULL
    AND s.expires_at + make_interval(secs => $5) > clock_timestamp()
RETURNING {_COLUMNS}
"""
_OF = f"""
SELECT {_COLUMNS} FROM auth.sessions s JOIN auth.users u ON u.id = s.user_id AND {_ACTIVE}
WHERE s.user_id = $1 AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
ORDER BY s.created_at DESC, s.id DESC
"""
_REVOKE = """
UPDATE auth.sessions SET revoked_at = clock_timestamp()
WHERE {which} = $1 AND revoked_at IS NULL
    AND expires_at + make_interval(secs => $2) > clock_timestamp()
"""


class PgSessions:
    """One statement per verb, within the scope of the accounts that it belongs to."""

    def __init__(self, database: Database, scope: Scope):
        self._database = database
        self._scope = scope
        self._rules = PostgresConfig.of(database.config)

    async def open(
        self,
        user: UUID,
        *,
        ip_address: IPv4Address | IPv6Address,
        user_agent: str | None = None,
    ) -> OpenSession:
        """Begin a session."""
        if user_agent is not None and "\x00" in user_agent:
            raise ValidationError([FieldProblem("user_agent", "contains a NUL character")])
        session = uuid7()
        name = session_name(session, user)
        token, refresh = self._token("open", name), self._token("open", name)
        row = await self._row(
            "open",
            _OPEN,
            user,
            session,
            _hash(token),
            _hash(refresh),
            ip_address,
            user_agent,
            self._rules.session_lifetime,
        )
        return _opened(row, token, refresh)

    async def find(self, token: str) -> Session:
        """The session that this token proves."""
        return _session(await self._row("find", _FIND, _hash(token)))

    async def refresh(self, refresh_token: str) -> OpenSession:
        """In one statement, so that of two who come with the same token one is refused."""
        name = ".".join(refresh_token.split(".")[1:3]) if named_in(refresh_token) else ""
        token, refresh = self._token("refresh", name), self._token("refresh", name)
        row = await self._row(
            "refresh",
            _REFRESH,
            _hash(refresh_token),
            _hash(token),
            _hash(refresh),
            self._rules.session_lifetime,
            self._rules.refresh_lifetime,
        )
        return _opened(row, token, refresh)

    async def of(self, user: UUID) -> list[Session]:
        """A user's sessions that hold now."""
        async with self._database.reading("sessions.of", self._scope) as connection:
            return [_session(row) for row in await connection.fetch(_OF, user)]

    async def revoke(self, session: UUID) -> None:
        """End a session now."""
        if not await self._revoke("id", session):
            raise NotFoundError(f"no session {session} can be used", store=self._database.store)

    async def revoke_all(self, user: UUID) -> int:
        """End all sessions of a user now."""
        return await self._revoke("user_id", user)

    async def _revoke(self, which: str, identity: UUID) -> int:
        self._tenant("revoke")
        sql = _REVOKE.format(which=which)
        async with self._database.statement("sessions.revoke", self._scope) as connection:
            status = await connection.execute(sql, identity, self._rules.refresh_lifetime)
        return int(status.rpartition(" ")[2])

    async def _row(self, verb: str, sql: str, *arguments: Any) -> asyncpg.Record:
        async with self._database.statement(f"sessions.{verb}", self._scope) as connection:
            row = await connection.fetchrow(sql, *arguments)
        if row is None:
            raise NotFoundError(
                "no session or active user is known by this", store=self._database.store
            )
        return row

    def _token(self, verb: str, name: str) -> str:
        parts = (self._tenant(verb).hex, name, secrets.token_urlsafe(32))
        return ".".join(filter(None, parts))

    def _tenant(self, verb: str) -> UUID:
        if self._scope.tenant is None:
            raise TenantRequiredError(
                "sessions belong to a tenant and this call has none",
                store=self._database.store,
                operation=f"sessions.{verb}",
            )
        return self._scope.tenant


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _session(row: asyncpg.Record) -> Session:
    return Session.model_validate(dict(row))


def _opened(row: asyncpg.Record, token: str, refresh: str) -> OpenSession:
    return OpenSession(_session(row), SecretStr(token), SecretStr(refresh))


_: type[Sessions] = PgSessions
