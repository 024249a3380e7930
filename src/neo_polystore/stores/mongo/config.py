"""Where MongoDB is, and how long to wait for it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class MongoConfig(BaseModel):
    """`url` is a MongoDB connection string (with credentials, replica set and TLS options in it).

    The driver reads it. `database` holds the collections. Times are in seconds.
    """

    model_config = ConfigDict(frozen=True)

    url: SecretStr
    database: str = Field(min_length=1, max_length=63)
    connect_timeout: float = Field(default=10.0, gt=0)
    command_timeout: float = Field(default=30.0, gt=0)
    max_connections: int = Field(default=50, gt=0)
