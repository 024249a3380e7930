"""The verifier of tokens that the settings describe."""

from __future__ import annotations

from neo_polystore.auth.jwks import KeySet
from neo_polystore.auth.tokens import Claims, Tokens
from neo_polystore.settings import Settings


def tokens_of(settings: Settings) -> Tokens | None:
    """None where neither a secret nor a key set is named; ConfigError for either that is unsafe."""
    secret = settings.jwt_secret_key.get_secret_value() if settings.jwt_secret_key else None
    if not secret and not settings.neo_jwt_jwks:
        return None
    claims = Claims(
        issuer=settings.neo_jwt_issuer,
        audience=settings.neo_jwt_audience,
        leeway=settings.neo_jwt_leeway_seconds,
        tenant=settings.neo_jwt_tenant_claim,
        service=settings.neo_jwt_service_claim,
        roles=settings.neo_jwt_roles_claim,
    )
    keys = (
        KeySet(settings.neo_jwt_jwks, keep=settings.neo_jwt_jwks_seconds)
        if settings.neo_jwt_jwks
        else None
    )
    return Tokens(claims, secret=secret or None, keys=keys)
