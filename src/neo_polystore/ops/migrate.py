"""Schema versions of every open store: what is applied, what is pending, bring it up to date."""

from __future__ import annotations

from neo_polystore.polystore import Polystore
from neo_polystore.ports.store import MigrationReport


async def migrate_all(polystore: Polystore, *, dry_run: bool = False) -> list[MigrationReport]:
    """One report per store, in name order; the first failure is raised and stops the rest."""
    return [
        await polystore.stores[name].migrate(dry_run=dry_run) for name in sorted(polystore.stores)
    ]
