"""Schema versions: what is applied, what is pending; forward, back, as text, and compared."""

from __future__ import annotations

from collections.abc import Collection

from neo_polystore.errors import UsageError
from neo_polystore.polystore import Polystore
from neo_polystore.ports.store import Cleared, MigrationReport, Script, Store, Validation
from neo_polystore.registry import engine_class
from neo_polystore.routing import RoutingTable


async def migrate_all(
    polystore: Polystore, *, dry_run: bool = False, store: str | None = None
) -> list[MigrationReport]:
    """One report per store, in name order; the first failure is raised and stops the rest."""
    return [await each.migrate(dry_run=dry_run) for each in _chosen(polystore, store)]


async def rollback(
    polystore: Polystore, store: str, *, to: str | None = None, dry_run: bool = False
) -> MigrationReport:
    """Take back one store's newest revision, or all after `to`; see `Store.rollback`."""
    [chosen] = _chosen(polystore, store)
    return await chosen.rollback(to=to, dry_run=dry_run)


async def validate_all(polystore: Polystore, *, store: str | None = None) -> list[Validation]:
    """Compare files, what is applied and live schemas, store by store."""
    return [await each.validate() for each in _chosen(polystore, store)]


async def clear_all(
    polystore: Polystore, *, dry_run: bool = False, store: str | None = None
) -> list[Cleared]:
    """Remove every row, store by store; nothing is removed by a dry run."""
    return [await each.clear(dry_run=dry_run) for each in _chosen(polystore, store)]


def scripts(
    routing: RoutingTable, *, store: str | None = None, after: str | None = None
) -> list[Script]:
    """The schemas of the routed stores as text; needs no server."""
    names = sorted(
        {name for route in routing for name in (route.primary, route.cache) if name is not None}
    )
    return [engine_class(name).script(after=after) for name in _known(names, store)]


def _chosen(polystore: Polystore, store: str | None) -> list[Store]:
    return [polystore.stores[name] for name in _known(sorted(polystore.stores), store)]


def _known(names: Collection[str], store: str | None) -> list[str]:
    """The one that is asked for, or all; UsageError for an unknown one."""
    if store is None:
        return list(names)
    if store not in names:
        raise UsageError(f"no store {store!r} is routed; there are {', '.join(names)}")
    return [store]
