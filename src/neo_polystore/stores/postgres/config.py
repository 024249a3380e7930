"""Where the relational store is, and the rules for logging in to what it keeps."""

from __future__ import annotations

from pydantic import SecretStr

from neo_polystore.pgkit.database import PgConfig


class PostgresConfig(PgConfig):
    """A database and the rules for accounts; times are in seconds.

    After `login_attempts` wrong passwords in a row a user is locked for `login_lock`. A session's
    token holds for `session_lifetime`, its refresh token for `refresh_lifetime` longer.
    `secrets_key` encrypts MFA secrets: 32 bytes in base64 or hexadecimal; without one there is
    no MFA.
    """

    login_attempts: int = 5
    login_lock: float = 900.0
    session_lifetime: float = 3600.0
    refresh_lifetime: float = 14 * 86400.0
    secrets_key: SecretStr | None = None

    @classmethod
    def of(cls, config: PgConfig) -> PostgresConfig:
        """The same configuration, with the default rules where it has none."""
        return config if isinstance(config, cls) else cls(**dict(config))
