"""JSON Web Tokens (RFC 7519): verified by the rules of RFC 8725, and signed for our own services.

Which algorithms are taken is decided by what keys there are, never by the token: HS256 goes with
our secret alone, RS256, ES256 and EdDSA with a public key of the key set that is for just that
algorithm. So neither `none` nor a public key used as a secret gets anybody in.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    MissingRequiredClaimError,
    PyJWTError,
)

from neo_polystore.auth.jwks import ALGORITHMS, KeySet
from neo_polystore.auth.permissions import ROLES
from neo_polystore.auth.principal import Principal
from neo_polystore.errors import ConfigError, UnauthenticatedError, UsageError
from neo_polystore.records.scope import Scope

SMALLEST_SECRET: Final = 32
"""Bytes of a secret for HS256 (RFC 7518, 3.2)."""

_REASONS: Final[tuple[tuple[type[PyJWTError], str], ...]] = (
    (ExpiredSignatureError, "it has expired"),
    (ImmatureSignatureError, "it is not valid yet"),
    (InvalidAudienceError, "it is for another audience"),
    (InvalidIssuerError, "it is from another issuer"),
    (MissingRequiredClaimError, "it lacks a claim that is needed: exp, iss, aud, sub"),
)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token must say, and where it says who its bearer is."""

    issuer: str
    audience: str
    leeway: float = 30.0
    tenant: str = "tenant"
    service: str = "service"
    roles: str = "roles"


class Tokens:
    """Verifies tokens, and signs some where there is a secret."""

    def __init__(self, claims: Claims, *, secret: str | None = None, keys: KeySet | None = None):
        if secret is not None and len(secret.encode()) < SMALLEST_SECRET:
            raise ConfigError(
                f"JWT_SECRET_KEY: a secret for HS256 has at least {SMALLEST_SECRET} bytes:"
                " `openssl rand -base64 48`"
            )
        self._claims = claims
        self._secret = secret
        self._keys = keys

    @property
    def generation(self) -> int:
        """Grows when keys have changed, and what was verified with the old ones counts no more."""
        return self._keys.generation if self._keys is not None else 0

    async def principal(self, token: str) -> Principal:
        """Who bears this token. UnauthenticatedError, which never repeats any of the token."""
        key, algorithm = await self._key(token)
        wanted = self._claims
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=wanted.issuer,
                audience=wanted.audience,
                leeway=wanted.leeway,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (PyJWTError, ArithmeticError, ValueError, TypeError, RecursionError) as error:
            reasons = (text for kind, text in _REASONS if isinstance(error, kind))
            raise _refused(next(reasons, "it is malformed or its signature is wrong")) from None
        return self._read(claims)

    def sign(
        self,
        *,
        user: str,
        tenant: UUID | None,
        roles: list[str],
        seconds: float,
        service: str | None = None,
    ) -> str:
        """A token of our own (HS256). ConfigError without a secret, UsageError for no such role."""
        if self._secret is None:
            raise ConfigError("no JWT_SECRET_KEY is set to sign a token with")
        if unknown := sorted(set(roles) - set(ROLES)):
            raise UsageError(f"no role {', '.join(unknown)}; there are {', '.join(ROLES)}")
        wanted, now = self._claims, int(time.time())
        content: dict[str, Any] = {
            "iss": wanted.issuer,
            "aud": wanted.audience,
            "sub": user,
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            wanted.roles: roles,
        }
        if tenant is not None:
            content[wanted.tenant] = str(tenant)
        if service is not None:
            content[wanted.service] = service
        return jwt.encode(content, self._secret, algorithm="HS256")

    async def _key(self, token: str) -> tuple[Any, str]:
        try:
            header = jwt.get_unverified_header(token)
        except (PyJWTError, ValueError, TypeError, RecursionError):
            raise _refused("it is no JSON Web Token") from None
        algorithm, kid = header.get("alg"), header.get("kid")
        if "crit" in header or "b64" in header:
            raise _refused("it demands an extension that is not known here")
        if algorithm == "HS256" and self._secret is not None:
            return self._secret, "HS256"
        if algorithm in ALGORITHMS and self._keys is not None:
            key = await self._keys.key(kid, str(algorithm))
            if key is None:
                raise _refused("no key of that id and algorithm is known")
            return key.key, str(algorithm)
        raise _refused("it is signed in a way that is not accepted here, or not at all")

    def _read(self, claims: Mapping[str, Any]) -> Principal:
        wanted = self._claims
        tenant, service = _at(claims, wanted.tenant), _at(claims, wanted.service)
        roles = _at(claims, wanted.roles) or []
        if isinstance(roles, str):
            roles = roles.split()
        if not isinstance(roles, list) or not isinstance(service, str | None):
            raise _refused("its roles or service cannot be read")
        try:
            scope = Scope(
                tenant=UUID(tenant) if tenant is not None else None,
                service=service,
                user=claims["sub"],
            )
        except (ValueError, TypeError, AttributeError, UsageError):
            raise _refused("its tenant is no UUID, or its subject is not usable") from None
        held = frozenset(role for role in roles if isinstance(role, str)) & ROLES.keys()
        return Principal(scope, held, "jwt", expires_at=float(claims["exp"]) + wanted.leeway)


def _at(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this name; where there is none, dots lead into objects."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _refused(why: str) -> UnauthenticatedError:
    return UnauthenticatedError(f"the token is refused: {why}")
