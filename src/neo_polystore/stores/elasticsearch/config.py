"""Where an Elasticsearch or OpenSearch server is and as whom to go there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

_PREFIX = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


class ElasticsearchConfig(BaseModel):
    """A server's HTTP interface. Every index of ours begins with `prefix` and a hyphen.

    `api_key` is the base64 text that the server gave; it goes before `user` and `password`.
    `ca_file` holds the certificates to trust in place of the system's. `timeout` is in seconds.
    """

    model_config = ConfigDict(frozen=True)

    url: SecretStr = SecretStr("http://127.0.0.1:9200")
    user: str = ""
    password: SecretStr = SecretStr("")
    api_key: SecretStr = SecretStr("")
    ca_file: Path | None = None
    prefix: str = "neo-logs"
    timeout: float = Field(default=60.0, gt=0)
    connections: int = Field(default=8, gt=0)

    @field_validator("prefix")
    @classmethod
    def _lower_case(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):
            raise ValueError(
                f"expected lower-case letters, digits, '_', '-' and '.', got {value!r}"
            )
        return value

    @property
    def place(self) -> str:
        """The server and what its indexes begin with, without secrets."""
        found = urlsplit(self.url.get_secret_value())
        return f"{found.scheme}://{found.hostname}:{found.port}/{self.prefix}"

    @property
    def pattern(self) -> str:
        """What the names of all days' indexes match."""
        return f"{self.prefix}-*"

    def index(self, day: str) -> str:
        """The index of one day, `2026-11-28`."""
        return f"{self.prefix}-{day}"

    def day(self, index: str) -> str:
        """The inverse of `index`."""
        return index.removeprefix(f"{self.prefix}-")
