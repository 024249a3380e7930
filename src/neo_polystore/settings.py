"""Settings from the environment or `.env`, under the names that the specifications give them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, SecretStr, field_validator
from pydantic import ValidationError as PydanticError
from pydantic_settings import BaseSettings, SettingsConfigDict

from neo_polystore.errors import ConfigError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.records.base import problems_of
from neo_polystore.records.scope import Scope

Profile = Literal["embedded", "server"]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """Everything that can be set. Each field's name in capitals is its environment variable.

    In the embedded profile the addresses below are not used: the servers run in `neo_data_dir`.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    neo_profile: Profile = Field(
        default="embedded", description="embedded: servers of our own; server: yours"
    )
    neo_data_dir: Path = Field(
        default=Path(".polystore"), description="where the embedded profile keeps its data"
    )
    neo_embedded_pg_bin: Path | None = Field(
        default=None, description="another PostgreSQL's bin folder"
    )
    neo_embedded_user: str | None = Field(
        default=None, description="account of the servers when started as root"
    )
    neo_routing: Path | None = Field(
        default=None, description="another routing table than schemas/routing.toml"
    )
    neo_tenant: UUID | None = Field(
        default=None, description="tenant of CLI commands (embedded: system)"
    )
    neo_cache: bool = Field(
        default=True, description="read-through caches as the routing table says"
    )
    neo_login_attempts: Annotated[int, Field(ge=1)] = Field(
        default=5, description="wrong passwords in a row that lock a user"
    )
    neo_login_lock_seconds: Annotated[float, Field(gt=0)] = Field(
        default=900.0, description="how long a user stays locked then"
    )
    neo_session_seconds: Annotated[float, Field(gt=0)] = Field(
        default=3600.0, description="how long a session's token holds"
    )
    neo_refresh_seconds: Annotated[float, Field(ge=0)] = Field(
        default=14 * 86400.0, description="how much longer its refresh token does"
    )
    neo_secrets_key: SecretStr | None = Field(
        default=None,
        description="32 bytes, base64 or hexadecimal, that encrypt MFA secrets; none: no MFA",
    )
    neo_host: str = Field(default="127.0.0.1", description="address that `serve` listens on")
    neo_port: Port = Field(default=8003, description="port that `serve` listens on")

    neo_admin_url: SecretStr | None = Field(
        default=None, description="PostgreSQL as administrator, for `db roles`"
    )
    neo_allow_clear: bool = Field(
        default=False, description="allow `db clear --force` in the server profile"
    )

    postgres_host: str = "127.0.0.1"
    postgres_port: Port = 5432
    postgres_db: str = "neo_service_layer"
    postgres_user: str = "neo_user"
    postgres_password: SecretStr = SecretStr("")
    postgres_owner: str = Field(
        default="neo_owner", description="role that owns the schema and migrates"
    )
    postgres_owner_password: SecretStr = SecretStr("")
    postgres_relay: str = Field(default="neo_relay", description="role of relay and scheduler")
    postgres_relay_password: SecretStr = SecretStr("")
    postgres_sslmode: str = Field(
        default="prefer", description="disable, prefer, require, verify-full, ..."
    )
    event_store_db: str = Field(default="event_store", description="database of the event store")
    timescale_host: str | None = Field(
        default=None, description="TimescaleDB server, if not POSTGRES_HOST"
    )
    timescale_port: Port | None = None
    timescale_db: str = "timeseries"
    db_pooled: bool = Field(
        default=False, description="POSTGRES_HOST is a pooler in transaction mode (PgBouncer)"
    )
    postgres_direct_host: str | None = Field(
        default=None, description="PostgreSQL itself, for what cannot go through the pooler"
    )
    postgres_direct_port: Port | None = None
    db_enable_retries: bool = Field(
        default=True, description="run transactions again that lost against concurrent ones"
    )
    db_max_retry_count: Annotated[int, Field(ge=0, le=20)] = 3
    db_retry_delay_ms: Annotated[float, Field(ge=0)] = Field(
        default=1000.0, description="longest pause before a retry (they begin with 10 ms)"
    )
    db_max_pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    db_connection_timeout: Annotated[float, Field(gt=0)] = 30.0
    db_command_timeout: Annotated[float, Field(gt=0)] = 30.0

    redis_host: str = "127.0.0.1"
    redis_port: Port = 6379
    redis_password: SecretStr = SecretStr("")
    redis_ssl: bool = False

    mongo_url: SecretStr = SecretStr("mongodb://127.0.0.1:27017")
    mongo_db: str = "neo_service_layer"

    s3_endpoint_url: str | None = Field(
        default=None, description="an S3-compatible service; none: AWS"
    )
    s3_region: str = "us-east-1"
    s3_access_key_id: str | None = Field(
        default=None, description="none: boto3's own credential chain"
    )
    s3_secret_access_key: SecretStr = SecretStr("")

    clickhouse_host: str = "127.0.0.1"
    clickhouse_port: Port = 8123
    clickhouse_user: str = "default"
    clickhouse_password: SecretStr = SecretStr("")
    clickhouse_db: str = "neo_polystore"
    clickhouse_secure: bool = False

    @field_validator("neo_data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @classmethod
    def load(cls) -> Settings:
        """Read environment and `.env`; raises ConfigError naming each variable that is wrong."""
        try:
            return cls()
        except PydanticError as error:
            text = "; ".join(f"{p.field.upper()}: {p.reason}" for p in problems_of(error))
            raise ConfigError(f"settings: {text}") from None

    def scope(self) -> Scope:
        """On whose behalf a command of this installation acts when nobody else is named."""
        if self.neo_tenant is not None:
            return Scope(tenant=self.neo_tenant)
        return Scope(tenant=SYSTEM_TENANT) if self.neo_profile == "embedded" else Scope()

    def redacted(self) -> dict[str, Any]:
        """What is in force, by environment variable; secrets as `********`, unset ones empty."""
        shown: dict[str, Any] = {}
        for name, value in self:
            if isinstance(value, SecretStr):
                value = "********" if value.get_secret_value() else ""
            shown[name.upper()] = value
        return shown
