"""Where the relational store is, and the rules for logging in and for how long things stay."""

from __future__ import annotations

from pydantic import SecretStr

from neo_polystore.pgkit.database import PgConfig


class PostgresConfig(PgConfig):
    """A database and the rules for accounts and upkeep; times are in seconds.

    After `login_attempts` wrong passwords in a row a user is locked for `login_lock`. A session's
    token holds for `session_lifetime`, its refresh token for `refresh_lifetime` longer.
    `secrets_key` encrypts MFA secrets: 32 bytes in base64 or hexadecimal; without one there is
    no MFA.

    Runs of the scheduler are forgotten after `run_days` but for the last `runs_kept` of each job,
    dead letters `dead_letter_days` after somebody has replayed or discarded them.
    """

    login_attempts: int = 5
    login_lock: float = 900.0
    session_lifetime: float = 3600.0
    refresh_lifetime: float = 14 * 86400.0
    secrets_key: SecretStr | None = None
    run_days: int = 90
    runs_kept: int = 100
    dead_letter_days: int = 365

    @classmethod
    def of(cls, config: PgConfig) -> PostgresConfig:
        """The same configuration, with the default rules where it has none."""
        return config if isinstance(config, cls) else cls(**dict(config))
