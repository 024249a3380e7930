"""Settings from the environment or `.env`, under the names that the specifications give them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, SecretStr, field_validator
from pydantic import ValidationError as PydanticError
from pydantic_settings import BaseSettings, SettingsConfigDict

from neo_polystore.assets import asset
from neo_polystore.errors import ConfigError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.records.base import problems_of
from neo_polystore.records.collections import add_collections
from neo_polystore.records.scope import Scope

Profile = Literal["embedded", "server"]
Port = Annotated[int, Field(ge=1, le=65535)]


def listed(text: str) -> list[str]:
    """What stands between the commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


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
    neo_collections: Path | None = Field(
        default=None, description="a folder of collection files beside those of mongo/"
    )
    neo_tenant: UUID | None = Field(
        default=None, description="tenant of CLI commands (embedded: system)"
    )
    neo_retention: Path | None = Field(
        default=None, description="rules that stand in for the routing table's retention"
    )
    neo_retention_cron: str = Field(
        default="30 3 * * *", description="when the scheduler applies retention, in UTC"
    )
    neo_archive_bucket: str = Field(
        default="archive", description="bucket of objects that is archived to before deletion"
    )
    neo_cache: bool = Field(
        default=True, description="read-through caches as the routing table says"
    )
    neo_cache_budget_ms: Annotated[float, Field(gt=0)] = Field(
        default=250.0, description="longest that a call waits for the cache"
    )
    neo_cache_max_bytes: Annotated[int, Field(ge=1)] = Field(
        default=1 << 20, description="the largest entry; larger records are not cached"
    )
    neo_cache_local_records: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="records of each cached data type that a process keeps in its own memory;"
        " 0 for none",
    )
    neo_cache_local_bytes: Annotated[int, Field(ge=1)] = Field(
        default=64 << 20, description="bytes of them, for each data type"
    )
    neo_cache_ttls: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default={}, description='other TTLs by key family, as JSON: {"session": 600}'
    )
    neo_redis_namespace: str = Field(
        default="", description="stands before every key, for deployments that share a server"
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
    neo_auth: Literal["auto", "required"] = Field(
        default="auto", description="auto: the embedded profile on loopback asks for no token"
    )
    jwt_secret_key: SecretStr | None = Field(
        default=None, description="32 bytes or more that sign HS256 tokens; none: no such tokens"
    )
    neo_jwt_jwks: str | None = Field(
        default=None, description="file or https address of the keys of RS256, ES256, EdDSA tokens"
    )
    neo_jwt_jwks_seconds: Annotated[float, Field(gt=0)] = Field(
        default=300.0, description="how long they are used before they are read again"
    )
    neo_jwt_issuer: str = Field(default="neo-polystore", description="`iss` of every token")
    neo_jwt_audience: str = Field(default="neo-polystore", description="`aud` of every token")
    neo_jwt_leeway_seconds: Annotated[float, Field(ge=0, le=300)] = Field(
        default=30.0, description="how far the clock of an issuer may be off"
    )
    neo_jwt_tenant_claim: str = Field(default="tenant", description="claim that is the tenant's id")
    neo_jwt_service_claim: str = Field(default="service", description="claim that is the service")
    neo_jwt_roles_claim: str = Field(
        default="roles", description="claim with the roles; dots lead into objects"
    )
    neo_token_bytes: Annotated[int, Field(ge=256, le=65_536)] = Field(
        default=8_192, description="longest token that is looked at"
    )
    neo_auth_remember_seconds: Annotated[float, Field(ge=0, le=300)] = Field(
        default=5.0, description="how long a verdict on a key or token is used again"
    )
    neo_public_paths: str = Field(
        default="/health,/ready",
        description="routes that need no token, such as /metrics, separated by commas",
    )
    neo_cors_origins: str = Field(
        default="", description="origins of web pages that may call the API, separated by commas"
    )
    neo_trusted_hosts: str = Field(
        default="", description="names that requests may be addressed to, by commas; none: any"
    )
    neo_body_bytes: Annotated[int, Field(ge=1)] = Field(
        default=64 * 2**20, description="largest request body (NDJSON streams have no bound)"
    )
    neo_body_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60.0, description="longest that a body takes, or a part of a stream"
    )
    neo_header_seconds: Annotated[float, Field(gt=0)] = Field(
        default=15.0, description="longest that the headers of a request take"
    )
    neo_secrets_key: SecretStr | None = Field(
        default=None,
        description="32 bytes, base64 or hexadecimal, that encrypt MFA secrets; none: no MFA",
    )
    neo_scheduler_run_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=90, description="days after which runs of the scheduler are forgotten"
    )
    neo_scheduler_runs_kept: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=100, description="last runs of each job that are kept however old"
    )
    neo_dead_letter_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        default=365, description="days after which replayed or discarded dead letters are forgotten"
    )
    neo_jobs: str = Field(
        default="",
        description="when jobs run if not by their own rules: `backup=30 1 * * *; vacuum=off`",
    )
    neo_backup_target: str | None = Field(
        default=None, description="where backups go: a directory, or s3://bucket/prefix"
    )
    neo_backup_key: SecretStr | None = Field(
        default=None, description="32 bytes, base64 or hexadecimal, that encrypt backups"
    )
    neo_wal_archive: bool | None = Field(
        default=None,
        description="whether the embedded PostgreSQL archives WAL to NEO_BACKUP_TARGET; unset: as"
        " its data directory says",
    )
    neo_base_full_days: Annotated[int, Field(ge=0, le=365)] = Field(
        default=7, description="age of a full base backup after which the next one is full again"
    )
    neo_audit_requests: Literal["all", "admin", "none"] = Field(
        default="all", description="which changing requests the audit trail records"
    )
    neo_audit_skip: str = Field(
        default="/api/v1/write,/api/v2/write",
        description="paths whose requests it does not record, separated by commas",
    )
    neo_audit_mask: str = Field(
        default="", description="further field names whose values it masks, separated by commas"
    )
    neo_metrics_raw: str | None = Field(
        default=None, description="how long points are kept, if not as the routing table says"
    )
    neo_metrics_hourly: str | None = Field(default=None, description="how long hourly values are")
    neo_metrics_daily: str | None = Field(default=None, description="how long daily values are")
    neo_metrics_compress_after: str = Field(
        default="7 days", description="age from which points are compressed, or indefinite"
    )
    neo_host: str = Field(default="127.0.0.1", description="address that `serve` listens on")
    neo_port: Port = Field(default=8003, description="port that `serve` listens on")
    neo_log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="what `serve` logs: this level and above"
    )
    neo_log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="a JSON object per line, or text; auto: text on a terminal"
    )
    neo_log_file: Path | None = Field(
        default=None, description="a file that the same lines go to as well, as JSON"
    )
    neo_log_requests: Literal["all", "slow", "none"] = Field(
        default="slow", description="requests with a line of their own; slow: and failed ones"
    )
    neo_log_slow_ms: Annotated[float, Field(ge=0)] = Field(
        default=1000.0, description="milliseconds from which on a request is slow"
    )
    neo_trace_sample: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="share of requests and jobs that are traced by OpenTelemetry; 0: none",
    )
    neo_limits: Path | None = Field(
        default=None,
        description="file of rate-limit policies; off: none; unset: schemas/limits.toml where"
        " requests come from other machines",
    )
    neo_trusted_proxies: str = Field(
        default="",
        description="networks whose X-Forwarded-For is believed, separated by commas",
    )
    neo_ingest_body_bytes: Annotated[int, Field(ge=1)] = Field(
        default=32 * 2**20, description="largest body of remote write and line protocol, as sent"
    )
    neo_ingest_content_bytes: Annotated[int, Field(ge=1)] = Field(
        default=128 * 2**20, description="largest such body when decompressed"
    )
    neo_ingest_requests: Annotated[int, Field(ge=1)] = Field(
        default=8, description="such requests that are worked on at once; more are told to wait"
    )
    neo_ingest_ahead_seconds: Annotated[float, Field(ge=0, le=1e9)] = Field(
        default=86400.0, description="how far in the future their points may be"
    )
    neo_ingest_days: Annotated[int, Field(ge=1)] = Field(
        default=1_000, description="different days (UTC) that points of one request may be of"
    )
    neo_ingest_service_labels: str = Field(
        default="service,job", description="labels and tags that name the service, the first wins"
    )
    neo_ingest_service: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        default="unknown", description="service of points that have none of these labels"
    )

    sgx_encryption_key: SecretStr | None = Field(
        default=None,
        description="32 bytes, base64 or hexadecimal, that wrap the master keys of sealing",
    )
    sgx_enable_hardware_mode: bool = Field(
        default=False, description="openers prove their enclave by attestation; false: simulation"
    )
    sgx_data_retention_days: Annotated[int, Field(ge=1, le=36_500)] = Field(
        default=90, description="days that sealed items of services are kept, if no policy says"
    )
    neo_sealed_max_bytes: Annotated[int, Field(ge=1, le=2**29)] = Field(
        default=64 * 2**20, description="largest content that is sealed"
    )
    neo_key_file: Path | None = Field(
        default=None,
        description="file with that key instead (embedded: sealing.key in the data directory)",
    )
    neo_key_wrapper: Literal["local", "kms", "vault"] = Field(
        default="local", description="who wraps the master keys: that key, AWS KMS, or Vault"
    )
    neo_kms_key_id: str | None = Field(default=None, description="key of AWS KMS: id, ARN or alias")
    neo_kms_endpoint_url: str | None = Field(
        default=None, description="a KMS-compatible service; none: AWS"
    )
    neo_vault_url: str | None = Field(default=None, description="address of HashiCorp Vault")
    neo_vault_token: SecretStr | None = Field(default=None, description="the token for it")
    neo_vault_namespace: str | None = Field(default=None, description="its namespace")
    neo_vault_key: str = Field(default="sealing", description="key of Vault's transit engine")
    neo_pccs_url: str | None = Field(
        default=None,
        description="service that collateral of quotes is fetched from (a PCCS, or Intel's own);"
        " none: it must be given",
    )

    neo_plaintext_hosts: str = Field(
        default="", description="servers that may be talked to without verified TLS, by commas"
    )
    neo_admin_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL as administrator, for `db roles` and hypertables' restore",
    )
    neo_allow_clear: bool = Field(
        default=False, description="allow `db clear --force` in the server profile"
    )

    postgres_host: str = Field(default="127.0.0.1", description="PostgreSQL, or its pooler")
    postgres_port: Port = Field(default=5432, description="its port")
    postgres_db: str = Field(default="neo_service_layer", description="the relational database")
    postgres_user: str = Field(default="neo_user", description="who serves: a member of neo_app")
    postgres_password: SecretStr = Field(default=SecretStr(""), description="its password")
    postgres_owner: str = Field(
        default="neo_owner", description="role that owns the schema and migrates"
    )
    postgres_owner_password: SecretStr = Field(default=SecretStr(""), description="its password")
    postgres_relay: str = Field(default="neo_relay", description="role of relay and scheduler")
    postgres_relay_password: SecretStr = Field(default=SecretStr(""), description="its password")
    postgres_retention: str = Field(
        default="neo_retention", description="role that may delete events past their time"
    )
    postgres_retention_password: SecretStr = Field(
        default=SecretStr(""), description="its password"
    )
    postgres_backup: str = Field(
        default="backup_service", description="user that reads backups, a member of neo_backup"
    )
    postgres_backup_password: SecretStr = Field(default=SecretStr(""), description="its password")
    postgres_sslmode: str = Field(
        default="prefer", description="disable, prefer, require, verify-full, ..."
    )
    event_store_db: str = Field(default="event_store", description="database of the event store")
    timescale_host: str | None = Field(
        default=None, description="TimescaleDB server, if not POSTGRES_HOST"
    )
    timescale_port: Port | None = Field(default=None, description="its port, if not POSTGRES_PORT")
    timescale_db: str = Field(default="timeseries", description="the database of the metrics")
    db_pooled: bool = Field(
        default=False, description="POSTGRES_HOST is a pooler in transaction mode (PgBouncer)"
    )
    postgres_direct_host: str | None = Field(
        default=None, description="PostgreSQL itself, for what cannot go through the pooler"
    )
    postgres_direct_port: Port | None = Field(default=None, description="its port")
    db_enable_retries: bool = Field(
        default=True, description="run transactions again that lost against concurrent ones"
    )
    db_max_retry_count: Annotated[int, Field(ge=0, le=20)] = Field(
        default=3, description="how often"
    )
    db_retry_delay_ms: Annotated[float, Field(ge=0)] = Field(
        default=1000.0, description="longest pause before a retry (they begin with 10 ms)"
    )
    db_max_pool_size: Annotated[int, Field(ge=1, le=200)] = Field(
        default=10, description="connections of each process to each database"
    )
    db_connection_timeout: Annotated[float, Field(gt=0)] = Field(
        default=30.0, description="seconds that connecting may take, and waiting for a connection"
    )
    db_command_timeout: Annotated[float, Field(gt=0)] = Field(
        default=30.0, description="seconds that a statement may take"
    )

    redis_host: str = Field(default="127.0.0.1", description="Redis or Valkey")
    redis_port: Port = Field(default=6379, description="its port")
    redis_password: SecretStr = Field(default=SecretStr(""), description="its password")
    redis_ssl: bool = Field(default=False, description="talk TLS")
    redis_cluster: bool = Field(default=False, description="REDIS_HOST is one of a Redis Cluster")

    mongo_url: SecretStr = Field(
        default=SecretStr("mongodb://127.0.0.1:27017"),
        description="MongoDB, user and password in it",
    )
    mongo_db: str = Field(default="neo_service_layer", description="its database")
    mongo_max_pool_size: Annotated[int, Field(ge=1)] = Field(
        default=50, description="most connections"
    )
    mongo_min_pool_size: Annotated[int, Field(ge=0)] = Field(
        default=0, description="connections that are kept open"
    )
    mongo_tls: bool | None = Field(default=None, description="talk TLS; unset: as MONGO_URL says")
    mongo_tls_ca_file: Path | None = Field(
        default=None, description="whom to trust; unset: the system's certificates"
    )
    mongo_tls_certificate_key_file: Path | None = Field(
        default=None, description="our own certificate and key, in one PEM file"
    )

    s3_endpoint_url: str | None = Field(
        default=None, description="an S3-compatible service; none: AWS"
    )
    s3_region: str = Field(default="us-east-1", description="its region")
    s3_access_key_id: str | None = Field(
        default=None, description="none: boto3's own credential chain"
    )
    s3_secret_access_key: SecretStr = Field(default=SecretStr(""), description="its secret")

    clickhouse_host: str = Field(default="127.0.0.1", description="ClickHouse, by HTTP")
    clickhouse_port: Port = Field(default=8123, description="its port")
    clickhouse_user: str = Field(default="default", description="who asks")
    clickhouse_password: SecretStr = Field(default=SecretStr(""), description="its password")
    clickhouse_db: str = Field(default="neo_polystore", description="its database")
    clickhouse_secure: bool = Field(default=False, description="talk TLS")

    elasticsearch_url: SecretStr | None = Field(
        default=None, description="Elasticsearch or OpenSearch; none: tantivy keeps the logs"
    )
    elasticsearch_user: str = Field(default="", description="who asks")
    elasticsearch_password: SecretStr = Field(default=SecretStr(""), description="its password")
    elasticsearch_api_key: SecretStr = Field(
        default=SecretStr(""), description="goes before user and password"
    )
    elasticsearch_ca_file: Path | None = Field(
        default=None, description="whom to trust; unset: the system's certificates"
    )
    elasticsearch_prefix: str = Field(
        default="neo-logs", description="what the names of all indexes begin with"
    )

    @field_validator("neo_data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def addressed(self) -> frozenset[str]:
        """Engines of the server profile of which a server is named: nothing stands in for them."""
        named = self.elasticsearch_url is not None and self.elasticsearch_url.get_secret_value()
        return frozenset({"elasticsearch"} if named and self.neo_profile == "server" else ())

    @classmethod
    def load(cls) -> Settings:
        """Read environment and `.env`; raises ConfigError naming each variable that is wrong."""
        try:
            loaded = cls()
        except PydanticError as error:
            text = "; ".join(f"{p.field.upper()}: {p.reason}" for p in problems_of(error))
            raise ConfigError(f"settings: {text}") from None
        loaded.declare()
        return loaded

    def declare(self) -> None:
        """Make the data types of `neo_collections` known in this process; ConfigError if wrong."""
        if self.neo_collections is not None:
            add_collections(self.neo_collections)

    def scope(self) -> Scope:
        """On whose behalf a command of this installation acts when nobody else is named."""
        if self.neo_tenant is not None:
            return Scope(tenant=self.neo_tenant)
        return Scope(tenant=SYSTEM_TENANT) if self.neo_profile == "embedded" else Scope()

    def audit_masks(self) -> frozenset[str]:
        """Names of fields that the audit trail masks beside those that look like secrets."""
        return frozenset(listed(self.neo_audit_mask))

    def audit_skips(self) -> frozenset[str]:
        """Paths whose requests the audit trail does not record."""
        return frozenset(listed(self.neo_audit_skip))

    @property
    def asks_for_tokens(self) -> bool:
        """Whether requests need a token; where not, they may come from this machine alone."""
        return self.neo_auth == "required" or self.neo_profile == "server"

    @property
    def limits_file(self) -> Path | None:
        """The file of rate-limit policies that holds, if one does."""
        if self.neo_limits is not None:
            return None if str(self.neo_limits) == "off" else self.neo_limits
        return asset("schemas/limits.toml") if self.neo_profile == "server" else None

    def home(self) -> UUID:
        """The tenant whose administrators administer the platform itself."""
        return self.neo_tenant or SYSTEM_TENANT

    def redacted(self) -> dict[str, Any]:
        """What is in force, by environment variable; secrets as `********`, unset ones empty."""
        shown: dict[str, Any] = {}
        for name, value in self:
            if isinstance(value, SecretStr):
                value = "********" if value.get_secret_value() else ""
            shown[name.upper()] = value
        return shown
