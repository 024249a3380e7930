"""Proving who a user is: passwords and authenticator codes, with one count of what was wrong."""

from __future__ import annotations

import asyncio
import time
from typing import Final
from uuid import UUID

import asyncpg
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from pydantic import SecretStr

from neo_polystore.errors import FieldProblem, NotFoundError, ValidationError
from neo_polystore.pgkit.database import Database
from neo_polystore.records.scope import Scope
from neo_polystore.stores.postgres import passwords
from neo_polystore.stores.postgres.config import PostgresConfig
from neo_polystore.stores.postgres.encryption import SecretBox

STEP: Final = 30
"""Seconds for which a code holds (RFC 6238); the ones before and after are accepted too."""

_OPEN = (
    "deleted_at IS NULL AND status = 'active'"
    " AND (locked_until IS NULL OR locked_until <= clock_timestamp())"
)
_BY_NAME = f"SELECT id, password_hash FROM auth.users WHERE username = $1 AND {_OPEN}"

_MFA_OF = f"SELECT username, mfa_secret FROM auth.users WHERE id = $1 AND mfa_enabled AND {_OPEN}"

# The row's lock puts all attempts in one order. After a lock has run out the count begins anew.
_COUNT_WRONG = f"""
UPDATE auth.users u
SET failed_login_attempts = n.attempts,
    locked_until = CASE WHEN n.attempts >= $2
        THEN clock_timestamp() + make_interval(secs => $3) END
FROM (
    SELECT id, CASE WHEN locked_until IS NULL THEN failed_login_attempts + 1 ELSE 1 END AS attempts
    FROM auth.users WHERE id = $1 AND {_OPEN} FOR UPDATE
) AS n
WHERE u.id = n.id
"""

# Where a code is asked for as well, only that one ends the count: whoever knows the password
# could otherwise guess codes for ever.
_ACCEPT_PASSWORD = f"""
UPDATE auth.users
SET failed_login_attempts = CASE WHEN {{asks}} THEN failed_login_attempts ELSE 0 END,
    locked_until = CASE WHEN {{asks}} THEN locked_until END,
    last_login_at = CASE WHEN {{asks}} THEN last_login_at ELSE clock_timestamp() END,
    password_hash = coalesce($3, password_hash)
WHERE id = $1 AND password_hash = $2 AND {_OPEN}
RETURNING id
""".replace("{asks}", "mfa_enabled AND mfa_secret IS NOT NULL")

_ACCEPT_CODE = f"""
UPDATE auth.users
SET failed_login_attempts = 0, locked_until = NULL, last_login_at = clock_timestamp(),
    mfa_secret = $3
WHERE id = $1 AND mfa_secret = $2 AND {_OPEN}
RETURNING id
"""

_SET_MFA = """
UPDATE auth.users SET mfa_secret = $2::text, mfa_enabled = $2::text IS NOT NULL
WHERE id = $1 AND deleted_at IS NULL
"""


class Logins:
    """The checks of one tenant's users; see `ports.accounts` for what each promises."""

    def __init__(self, database: Database, scope: Scope):
        self._database = database
        self._scope = scope
        self._rules = PostgresConfig.of(database.config)

    async def password(self, username: str, password: str) -> UUID:
        """The id of the user who has this name and password; NotFoundError."""
        async with self._database.reading("accounts.verify_password", self._scope) as connection:
            row = await connection.fetchrow(_BY_NAME, _storable(username))
        # who is not there takes as long as who is: an unusable hash matches nothing, slowly
        stored: str = row["password_hash"] if row else passwords.UNUSABLE
        right = await asyncio.to_thread(passwords.matches, stored, password)
        if row is None or not right:
            if row:
                await self._wrong(row["id"])
            raise self._refused()
        newer = await asyncio.to_thread(passwords.renewed, stored, password)
        if not await self._returns(_ACCEPT_PASSWORD, row["id"], stored, newer):
            raise self._refused()  # locked or changed in the meantime
        identity: UUID = row["id"]
        return identity

    async def code(self, user: UUID, code: str) -> None:
        """Accept an authenticator's code, once; NotFoundError."""
        row = await self._authenticator(user)
        sealed, _, used = row["mfa_secret"].rpartition(".")
        step = _matching(self._totp(user, sealed), code, after=int(used))
        if step is None:
            await self._wrong(user)
            raise self._refused()
        # the step is kept beside the secret: a code that was seen on its way is no use any more
        if not await self._returns(_ACCEPT_CODE, user, row["mfa_secret"], f"{sealed}.{step}"):
            raise self._refused()

    async def uri(self, user: UUID, issuer: str) -> SecretStr:
        """For the authenticator's camera."""
        row = await self._authenticator(user)
        totp = self._totp(user, row["mfa_secret"].rpartition(".")[0])
        return SecretStr(totp.get_provisioning_uri(row["username"], issuer))

    async def set_secret(self, user: UUID, secret: bytes | None) -> None:
        """Encrypted; ends with the step of the code that was used last."""
        sealed = None
        if secret is not None:
            if not 16 <= len(secret) <= 64:
                raise ValidationError([FieldProblem("secret", "must have 16 to 64 bytes")])
            sealed = f"{self._box().encrypt(secret, place=self._place(user))}.0"
        async with self._database.statement("accounts.mfa", self._scope) as connection:
            status = await connection.execute(_SET_MFA, user, sealed)
        if status.endswith(" 0"):
            raise self._refused()

    async def _authenticator(self, user: UUID) -> asyncpg.Record:
        async with self._database.reading("accounts.mfa", self._scope) as connection:
            row = await connection.fetchrow(_MFA_OF, user)
        if row is None or row["mfa_secret"] is None:
            raise self._refused()
        return row

    async def _wrong(self, user: UUID) -> None:
        rules = self._rules
        async with self._database.statement("accounts.wrong", self._scope) as connection:
            await connection.execute(_COUNT_WRONG, user, rules.login_attempts, rules.login_lock)

    async def _returns(self, sql: str, *arguments: object) -> bool:
        async with self._database.statement("accounts.accept", self._scope) as connection:
            return await connection.fetchval(sql, *arguments) is not None

    def _totp(self, user: UUID, sealed: str) -> TOTP:
        secret = self._box().decrypt(sealed, place=self._place(user))
        return TOTP(secret, 6, SHA1(), STEP)  # noqa: S303  what authenticators speak

    def _box(self) -> SecretBox:
        return SecretBox(self._rules.secrets_key)

    def _place(self, user: UUID) -> str:
        return f"auth.users.mfa_secret:{self._scope.tenant}:{user}"

    def _refused(self) -> NotFoundError:
        return NotFoundError("no active user proves himself by this", store=self._database.store)


def _storable(username: str) -> str:
    """The name without what no stored one has, so that asking for it is no error."""
    return username.replace("\x00", "").encode(errors="replace").decode()


def _matching(totp: TOTP, code: str, *, after: int) -> int | None:
    """The step that the code belongs to, if it is near now and later than `after`."""
    current = int(time.time()) // STEP
    found = None
    for step in (current - 1, current, current + 1):
        try:
            totp.verify(code.encode(errors="replace"), step * STEP)  # in constant time
        except InvalidToken:
            continue
        if step > after:
            found = step
    return found
