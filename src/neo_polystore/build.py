"""The composition root: settings -> addresses -> engines -> wrappers -> facade."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

from neo_polystore.addresses import EmbeddedAddresses, ServerAddresses
from neo_polystore.audit.trail import COLLECTION, AuditTrail
from neo_polystore.build_sealing import sealing_over
from neo_polystore.errors import ConfigError, PolystoreError, UnsafeRoleError
from neo_polystore.polystore import Polystore
from neo_polystore.ports.outbox import Outbox
from neo_polystore.ports.relational import Operational, Relational
from neo_polystore.ports.store import Store
from neo_polystore.registry import engine_class
from neo_polystore.retention.policy import load_policy
from neo_polystore.routing import Route, RoutingTable, load_routing
from neo_polystore.sealing.audited import AuditedBlobs
from neo_polystore.settings import Settings
from neo_polystore.wrappers.cached.changes import publishing
from neo_polystore.wrappers.cached.data_types import (
    CachedRecords,
    Caching,
    NearSize,
    cached,
    queries,
)
from neo_polystore.wrappers.cached.work import CachedRelational
from neo_polystore.wrappers.spooled import spooled

Addresses = EmbeddedAddresses | ServerAddresses

SPOOLED = frozenset({"audit_logs"})
"""What the outbox takes while its own store is away."""

CHAINED = "accounts"
"""In the store that has the chains of audit entries, and their outbox."""


@asynccontextmanager
async def open_polystore(
    settings: Settings | None = None,
    *,
    data_types: Collection[str] | None = None,
    migrate: bool | None = None,
    tolerant: bool = False,
) -> AsyncIterator[Polystore]:
    """Open the facade over the stores of the routing table, and close it all at the end.

    `data_types` opens only the stores that these need (a command that reads transactions starts
    no ClickHouse). `migrate` brings their schemas up to date first: by default in the embedded
    profile only, because a server's schema is changed on purpose. `tolerant` starts with the
    stores that can be reached; the others stay unhealthy until a later probe reaches them. A role
    that row-level security does not bind is tolerated in no case.

    Raises ConfigError for a routing table that cannot be served (with the fix) and
    UnavailableError where a store cannot be reached.
    """
    settings = settings or Settings.load()
    embedded = settings.neo_profile == "embedded"
    if data_types is not None and COLLECTION in data_types:
        data_types = {*data_types, CHAINED}
    async with made_stores(settings, data_types=data_types) as (routing, stores):
        routes = [routing[name] for name in data_types] if data_types is not None else list(routing)
        policy = load_policy(
            routing,
            settings.neo_retention,
            bucket=settings.neo_archive_bucket,
            cron=settings.neo_retention_cron,
        )
        if migrate if migrate is not None else embedded:
            await _each(_migrated(store, tolerant) for store in stores.values())
        await _each(_connected(store, tolerant) for store in stores.values())
        ports = _ports(routes, stores, settings)
        trail = _audit(stores, ports, settings)
        if trail is not None and "sealed" in ports:
            ports["sealed"] = AuditedBlobs(ports["sealed"], trail)
        sealing = sealing_over(stores, trail, settings)
        try:
            yield Polystore(
                routing=routing,
                stores=stores,
                ports=ports,
                audit=trail,
                relational=_relational(routes, stores, ports, settings),
                sealing=sealing,
                retention=policy,
            )
        finally:
            if sealing is not None:
                sealing.close()


@asynccontextmanager
async def made_stores(
    settings: Settings, *, data_types: Collection[str] | None = None
) -> AsyncIterator[tuple[RoutingTable, dict[str, Store]]]:
    """The routing table and its stores, neither migrated nor connected; closed at the end.

    Embedded servers run for as long. For what works below the ports: backup and restore.
    """
    settings.declare()
    routing = load_routing(settings.neo_profile, settings.neo_routing, addressed=settings.addressed)
    routes = [routing[name] for name in data_types] if data_types is not None else list(routing)
    classes = _engine_classes(routing, routes)
    addresses: Addresses = (
        await EmbeddedAddresses.open(settings)
        if settings.neo_profile == "embedded"
        else ServerAddresses(settings)
    )
    stores: dict[str, Store] = {}
    try:
        made = await _each(
            _make(name, found, addresses, routing) for name, found in classes.items()
        )
        stores = dict(zip(classes, made, strict=True))
        yield routing, stores
    finally:
        try:
            await asyncio.gather(*(store.close() for store in stores.values()))
        finally:
            await addresses.close()


def _engine_classes(routing: RoutingTable, routes: list[Route]) -> dict[str, type[Store]]:
    """The classes of every engine that the routes name; each must serve what it is given."""
    classes: dict[str, type[Store]] = {}
    for route in routes:
        for name in filter(None, (route.primary, route.cache)):
            classes.setdefault(name, engine_class(name))
        if route.data_type not in classes[route.primary].serves:
            served = ", ".join(sorted(classes[route.primary].serves))
            raise ConfigError(
                f"routing table ({routing.profile}): engine {route.primary!r} does not serve"
                f" {route.data_type!r}, it serves {served}"
            )
        if route.cache and "cache" not in classes[route.cache].serves:
            raise ConfigError(
                f"routing table ({routing.profile}): {route.data_type!r} names {route.cache!r} as"
                " cache, which is no cache engine: use redis, or an empty text for none"
            )
    return classes


async def _make(
    name: str, found: type[Store], addresses: Addresses, routing: RoutingTable
) -> Store:
    config = await addresses.config(name)
    if name == routing["metrics"].primary and hasattr(config, "routed"):
        config = config.routed(routing["metrics"].retention)
    factory: Any = found  # constructors take their own engine's configuration
    store: Store = factory(config)
    return store


async def _migrated(store: Store, tolerant: bool) -> None:
    try:
        await store.migrate()
    except PolystoreError:
        if not tolerant:
            raise


async def _connected(store: Store, tolerant: bool) -> None:
    try:
        await store.connect()
    except UnsafeRoleError:
        raise
    except PolystoreError:
        if not tolerant:
            raise


async def _each(work: Iterable[Any]) -> list[Any]:
    """Run all of it side by side; the first error is raised after the others have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _ports(routes: list[Route], stores: dict[str, Store], settings: Settings) -> dict[str, Any]:
    ports: dict[str, Any] = {}
    outbox = _outbox(stores)
    for route in routes:
        port = stores[route.primary].port(route.data_type)
        if route.cache and settings.neo_cache:
            caching = _caching(stores, route.cache, settings)
            port = cached(
                route.data_type,
                port,
                caching.cache,
                budget=caching.budget,
                largest=caching.largest,
                later=caching.later,
                near=caching.near,
            )
        if outbox is not None and route.data_type in SPOOLED:
            port = spooled(route.data_type, port, outbox)
        ports[route.data_type] = port
    return ports


def _caching(stores: dict[str, Store], engine: str, settings: Settings) -> Caching:
    outbox = _outbox(stores)
    return Caching(
        stores[engine].port("cache"),
        budget=settings.neo_cache_budget_ms / 1000,
        largest=settings.neo_cache_max_bytes,
        later=None if outbox is None else publishing(outbox),
        near=NearSize(settings.neo_cache_local_records, settings.neo_cache_local_bytes)
        if settings.neo_cache_local_records
        else None,
    )


def _relational(
    routes: list[Route], stores: dict[str, Store], ports: dict[str, Any], settings: Settings
) -> Relational | None:
    """The store of units of work, whose commits invalidate what they change of cached ports."""
    for store in stores.values():
        if "unit-of-work" in store.features:
            relational = cast(Relational, store)
            served = [route for route in routes if route.primary == store.name and route.cache]
            if not (served and settings.neo_cache):
                return relational
            behind = {
                route.data_type: ports[route.data_type]
                for route in served
                if isinstance(ports[route.data_type], CachedRecords)
            }
            caching = _caching(stores, served[0].cache or "", settings)
            return CachedRelational(relational, behind, queries(caching))
    return None


def _audit(
    stores: dict[str, Store], ports: dict[str, Any], settings: Settings
) -> AuditTrail | None:
    """The audit trail, where its collection and the store of its chains are open."""
    relational = _operational(stores)
    if relational is None or COLLECTION not in ports:
        return None
    return AuditTrail(ports[COLLECTION], relational.chains, masks=settings.audit_masks())


def _outbox(stores: dict[str, Store]) -> Outbox | None:
    """The outbox, where a store that has one is open."""
    store = _operational(stores)
    return None if store is None else store.outbox


def _operational(stores: dict[str, Store]) -> Operational | None:
    for store in stores.values():
        if "outbox" in store.features:
            return cast(Operational, store)
    return None
