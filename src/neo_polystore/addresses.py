"""Where each engine is, per profile: from settings or embedded servers to its configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from neo_polystore.embedded import EmbeddedError, EmbeddedOptions, Membership
from neo_polystore.embedded.archiving import switch as switch_archiving
from neo_polystore.embedded.servers import postgres_programs
from neo_polystore.errors import ConfigError, UnavailableError
from neo_polystore.pgkit.bootstrap import prepare_database
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pitr.access import access_of
from neo_polystore.settings import Settings
from neo_polystore.transport import require_tls

EVENTS = "eventsourcing"
"""The schema of the event store in the relational database; see decision 0009."""


def client_programs(settings: Settings) -> Path | None:
    """The folder with PostgreSQL's own programs (pg_dump): the embedded server's, else PATH."""
    try:
        return postgres_programs(settings.neo_embedded_pg_bin)
    except EmbeddedError:
        return None


class ServerAddresses:
    """The server profile: every address comes from the settings."""

    def __init__(self, settings: Settings):
        self.settings = settings

    async def config(self, engine: str) -> Any:
        """The configuration of one engine; ConfigError where it is not safe to go there."""
        require_tls(self.settings, engine)
        make: Callable[[], Any] = getattr(self, f"_{engine}")
        return make()

    async def close(self) -> None:
        """Nothing is held."""

    def _database(
        self, database: str, host: str | None = None, port: int | None = None
    ) -> PgConfig:
        settings = self.settings
        return PgConfig(
            host=host or settings.postgres_host,
            port=port or settings.postgres_port,
            database=database,
            user=settings.postgres_user,
            password=settings.postgres_password,
            owner=settings.postgres_owner,
            owner_password=settings.postgres_owner_password,
            relay=settings.postgres_relay,
            relay_password=settings.postgres_relay_password,
            retention=settings.postgres_retention,
            retention_password=settings.postgres_retention_password,
            backup=settings.postgres_backup,
            backup_password=settings.postgres_backup_password,
            ssl=settings.postgres_sslmode,
            # the pooler stands before POSTGRES_HOST, not before another server
            pooled=settings.db_pooled and host is None,
            direct_host=settings.postgres_direct_host,
            direct_port=settings.postgres_direct_port,
            max_connections=settings.db_max_pool_size,
            connect_timeout=settings.db_connection_timeout,
            command_timeout=settings.db_command_timeout,
            programs=client_programs(settings),
            **_retries(settings),
        )

    def _postgres(self) -> PgConfig:
        return _with_rules(self._database(self.settings.postgres_db), self.settings)

    _jsonb = _postgres

    def _event_store(self) -> PgConfig:
        return _sharing(self._database(self.settings.event_store_db), self.settings)

    def _timescale(self) -> PgConfig:
        settings = self.settings
        database = self._database(
            settings.timescale_db, settings.timescale_host, settings.timescale_port
        )
        return _with_retention(_with_admin(database, settings), settings)

    def _redis(self) -> Any:
        from neo_polystore.stores.redis.config import RedisConfig

        settings = self.settings
        return RedisConfig(
            host=settings.redis_host,
            port=settings.redis_port,
            password=settings.redis_password,
            ssl=settings.redis_ssl,
            cluster=settings.redis_cluster,
            namespace=settings.neo_redis_namespace,
            ttls=settings.neo_cache_ttls,
        )

    def _mongo(self) -> Any:
        from neo_polystore.stores.mongo.config import MongoConfig

        settings = self.settings
        return MongoConfig(
            url=settings.mongo_url,
            database=settings.mongo_db,
            connect_timeout=settings.db_connection_timeout,
            command_timeout=settings.db_command_timeout,
            max_connections=settings.mongo_max_pool_size,
            min_connections=settings.mongo_min_pool_size,
            tls=settings.mongo_tls,
            tls_ca_file=settings.mongo_tls_ca_file,
            tls_certificate_key_file=settings.mongo_tls_certificate_key_file,
        )

    def _s3(self) -> Any:
        from neo_polystore.stores.s3.config import S3Config

        settings = self.settings
        return S3Config(
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
            access_key_id=settings.s3_access_key_id,
            secret_access_key=settings.s3_secret_access_key,
        )

    def _clickhouse(self) -> Any:
        from neo_polystore.stores.clickhouse.config import ClickHouseConfig

        settings = self.settings
        return ClickHouseConfig(
            host=settings.clickhouse_host,
            port=settings.clickhouse_port,
            user=settings.clickhouse_user,
            password=settings.clickhouse_password,
            database=settings.clickhouse_db,
            secure=settings.clickhouse_secure,
        )

    def _elasticsearch(self) -> Any:
        from neo_polystore.stores.elasticsearch.config import ElasticsearchConfig

        settings = self.settings
        return ElasticsearchConfig(
            url=settings.elasticsearch_url or SecretStr("http://127.0.0.1:9200"),
            user=settings.elasticsearch_user,
            password=settings.elasticsearch_password,
            api_key=settings.elasticsearch_api_key,
            ca_file=settings.elasticsearch_ca_file,
            prefix=settings.elasticsearch_prefix,
        )

    def _files(self) -> Any:
        from neo_polystore.stores.files.config import FilesConfig

        return FilesConfig(directory=self.settings.neo_data_dir / "objects")

    def _tantivy(self) -> Any:
        from neo_polystore.stores.tantivy.config import TantivyConfig

        return TantivyConfig(directory=self.settings.neo_data_dir / "log-index")


class EmbeddedAddresses:
    """The embedded profile: servers of our own, started when an engine first needs one."""

    def __init__(self, settings: Settings, membership: Membership):
        self.settings = settings
        self.membership = membership
        self._directories = ServerAddresses(settings)
        self._databases: dict[str, asyncio.Task[PgConfig]] = {}

    @classmethod
    async def open(cls, settings: Settings) -> EmbeddedAddresses:
        """Join the platform of the data directory, which starts it where nobody has."""
        options = EmbeddedOptions(
            pg_bin=settings.neo_embedded_pg_bin, user=settings.neo_embedded_user
        )
        try:
            if settings.neo_wal_archive is not None:
                access = access_of(settings) if settings.neo_wal_archive else None
                switch_archiving(settings.neo_data_dir, access)
            return cls(settings, await Membership.join(settings.neo_data_dir, options))
        except EmbeddedError as error:
            raise UnavailableError(str(error), store="embedded", operation="start") from error

    async def close(self) -> None:
        """Leave; the last one to leave stops the servers."""
        await self.membership.leave()

    async def config(self, engine: str) -> Any:
        """The configuration of one engine, its server started and its database made."""
        try:
            match engine:
                case "postgres" | "jsonb":
                    return await self._database(self.settings.postgres_db)
                case "event_store":
                    config = await self._database(self.settings.event_store_db)
                    return _sharing(config, self.settings)
                case "timescale":
                    database = await self._database(self.settings.timescale_db)
                    return _with_retention(database, self.settings)
                case "redis":
                    return await self._redis()
                case "clickhouse":
                    return await self._clickhouse()
                case _:
                    return await self._directories.config(engine)
        except EmbeddedError as error:
            raise UnavailableError(str(error), store=engine, operation="start") from error

    async def _database(self, database: str) -> PgConfig:
        """Several engines may share a database: it is prepared once."""
        if database not in self._databases:
            self._databases[database] = asyncio.create_task(self._prepare(database))
        return await self._databases[database]

    async def _prepare(self, database: str) -> PgConfig:
        server = await self.membership.ensure("postgres")
        config = await prepare_database(
            host=server.host,
            port=server.port,
            admin=server.user,
            admin_password=server.password,
            database=database,
        )
        update = {
            "max_connections": self.settings.db_max_pool_size,
            "command_timeout": self.settings.db_command_timeout,
            "programs": client_programs(self.settings),
            **_retries(self.settings),
        }
        return _with_rules(config.model_copy(update=update), self.settings)

    async def _redis(self) -> Any:
        from neo_polystore.stores.redis.config import RedisConfig

        server = await self.membership.ensure("redis")
        return RedisConfig(
            host=server.host,
            port=server.port,
            password=SecretStr(server.password),
            namespace=self.settings.neo_redis_namespace,
            ttls=self.settings.neo_cache_ttls,
        )

    async def _clickhouse(self) -> Any:
        from neo_polystore.stores.clickhouse.config import ClickHouseConfig

        server = await self.membership.ensure("clickhouse")
        return ClickHouseConfig(
            host=server.host,
            port=server.port,
            user=server.user,
            password=SecretStr(server.password),
            database=self.settings.clickhouse_db,
        )


def _with_admin(config: PgConfig, settings: Settings) -> PgConfig:
    """With the administrator that NEO_ADMIN_URL names; the rest of the address is our own."""
    if settings.neo_admin_url is None:
        return config
    url = urlsplit(settings.neo_admin_url.get_secret_value())
    password = SecretStr(unquote(url.password or ""))
    return config.model_copy(
        update={"admin": unquote(url.username or "") or None, "admin_password": password}
    )


def _sharing(config: PgConfig, settings: Settings) -> PgConfig:
    """The event store's database; where that is the relational one, its schema in there.

    ConfigError behind a pooler, which does not carry the search path that this takes.
    """
    if config.database != settings.postgres_db:
        return config
    if config.pooled:
        raise ConfigError(
            "EVENT_STORE_DB names the database of POSTGRES_DB, which cannot be had through a"
            " pooler (DB_POOLED): give the event store a database of its own",
            store="event_store",
        )
    return config.model_copy(update={"namespace": EVENTS})


def _retries(settings: Settings) -> dict[str, Any]:
    most = settings.db_max_retry_count if settings.db_enable_retries else 0
    return {"retries": most, "retry_delay": settings.db_retry_delay_ms / 1000}


def _with_rules(config: PgConfig, settings: Settings) -> PgConfig:
    """The database with the rules that only the relational store looks at."""
    from neo_polystore.stores.postgres.config import PostgresConfig

    return PostgresConfig(
        **dict(config),
        login_attempts=settings.neo_login_attempts,
        login_lock=settings.neo_login_lock_seconds,
        session_lifetime=settings.neo_session_seconds,
        refresh_lifetime=settings.neo_refresh_seconds,
        secrets_key=settings.neo_secrets_key,
        run_days=settings.neo_scheduler_run_days,
        runs_kept=settings.neo_scheduler_runs_kept,
        dead_letter_days=settings.neo_dead_letter_days,
    )


def _with_retention(config: PgConfig, settings: Settings) -> PgConfig:
    """The database of the metrics, with what was chosen of how long they are kept."""
    from neo_polystore.stores.timescale.config import TimescaleConfig

    return TimescaleConfig.of(
        config,
        keep_raw=settings.neo_metrics_raw,
        keep_hourly=settings.neo_metrics_hourly,
        keep_daily=settings.neo_metrics_daily,
        compress_after=settings.neo_metrics_compress_after,
    )
