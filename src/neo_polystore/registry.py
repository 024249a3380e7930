"""Which engines there are: a name, the class behind it, and what must be installed for it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from neo_polystore.errors import ConfigError

if TYPE_CHECKING:
    from neo_polystore.ports.store import Store


@dataclass(frozen=True, slots=True)
class Engine:
    """`home` is `module:Class`; nothing is imported until the engine is routed."""

    home: str
    requires: str | None = None
    extra: str | None = None


ENGINES = {
    "postgres": Engine("neo_polystore.stores.postgres.store:PostgresStore"),
    "event_store": Engine("neo_polystore.stores.event_store.store:EventStore"),
    "timescale": Engine("neo_polystore.stores.timescale.store:TimescaleStore"),
    "jsonb": Engine("neo_polystore.stores.jsonb.store:JsonbStore"),
    "mongo": Engine("neo_polystore.stores.mongo.store:MongoStore", "pymongo", "mongo"),
    "redis": Engine("neo_polystore.stores.redis.store:RedisStore"),
    "files": Engine("neo_polystore.stores.files.store:FilesStore"),
    "s3": Engine("neo_polystore.stores.s3.store:S3Store"),
    "clickhouse": Engine(
        "neo_polystore.stores.clickhouse.store:ClickHouseStore", "clickhouse_connect", "clickhouse"
    ),
    "elasticsearch": Engine(
        "neo_polystore.stores.elasticsearch.store:ElasticsearchStore",
        "elastic_transport",
        "elasticsearch",
    ),
    "tantivy": Engine("neo_polystore.stores.tantivy.store:TantivyStore", "tantivy", "tantivy"),
}


def engine_class(name: str) -> type[Store]:
    """Import an engine's class; ConfigError for an unknown name or a missing extra."""
    engine = ENGINES.get(name)
    if engine is None:
        raise ConfigError(
            f"unknown engine {name!r} in the routing table; there are {', '.join(ENGINES)}"
        )
    if engine.requires and find_spec(engine.requires) is None:
        raise ConfigError(
            f"engine {name!r} needs the package {engine.requires!r}:"
            f" pip install 'neo-polystore[{engine.extra}]'"
        )
    module, _, attribute = engine.home.partition(":")
    found: type[Store] = getattr(import_module(module), attribute)
    return found
