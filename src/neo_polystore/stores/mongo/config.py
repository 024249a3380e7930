"""Where MongoDB is, and how long to wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from neo_polystore.errors import ConfigError


class MongoConfig(BaseModel):
    """`url` is a MongoDB connection string (with credentials, replica set and TLS options in it).

    The driver reads it. The
    fields for TLS come before what it says. `database` holds the collections. Times are in seconds.
    `archived_as` is the database's name in a backup, where that is not its own: of a scratch
    database that is compared with another.
    """

    model_config = ConfigDict(frozen=True)

    url: SecretStr
    database: str = Field(min_length=1, max_length=63)
    archived_as: str | None = None
    connect_timeout: float = Field(default=10.0, gt=0)
    command_timeout: float = Field(default=30.0, gt=0)
    max_connections: int = Field(default=50, gt=0)
    min_connections: int = Field(default=0, ge=0)
    tls: bool | None = None
    tls_ca_file: Path | None = None
    tls_certificate_key_file: Path | None = None

    def tls_options(self) -> dict[str, Any]:
        """The driver's options for TLS; what is not set is left to the connection string.

        Raises ConfigError for a file that is not there.
        """
        for path in (self.tls_ca_file, self.tls_certificate_key_file):
            if path is not None and not path.is_file():
                raise ConfigError(f"TLS for MongoDB: there is no file {path}", store="mongo")
        named = {
            "tls": self.tls,
            "tlsCAFile": self.tls_ca_file and str(self.tls_ca_file),
            "tlsCertificateKeyFile": self.tls_certificate_key_file
            and str(self.tls_certificate_key_file),
        }
        return {name: value for name, value in named.items() if value is not None}
