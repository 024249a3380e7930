"""Where a ClickHouse server is and as whom to go there."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ClickHouseConfig(BaseModel):
    """The HTTP interface of a server and the database that is ours.

    `connect_timeout` and `timeout` are in seconds; `timeout` is the longest silence of a running
    statement. `connections` is how many statements run at once. `compress` pays off on a network
    and costs on the same machine.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    port: int = 8123
    user: str = "default"
    password: SecretStr = SecretStr("")
    database: str = "neo_polystore"
    secure: bool = False
    compress: bool = False
    connect_timeout: int = Field(default=10, gt=0)
    timeout: int = Field(default=60, gt=0)
    connections: int = Field(default=8, gt=0)
