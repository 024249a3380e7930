"""Goes back by one revision, or to a given one."""

from __future__ import annotations

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.migrations import downgrade, migrate, revisions
from neo_polystore.ports.store import MigrationReport

BASE = "base"


async def rollback(
    config: PgConfig, *, environment: str, store: str, to: str | None, dry_run: bool
) -> MigrationReport:
    """Take back the newest revision, or all after `to`; see `Store.rollback`.

    The aim is decided first: of two that run at once, the second finds nothing left to do.
    """
    report = await migrate(config, environment=environment, store=store, dry_run=True)
    known = [revision.id for revision in revisions(environment)]
    if to not in (None, BASE, *known):
        raise UsageError(
            f"migrations/{environment} has no revision {to!r}; it has {', '.join((BASE, *known))}"
        )
    applied = [name for name in known if name not in report.pending]
    if to is None:
        kept = applied[:-1]
        aim = kept[-1] if kept else None
    else:
        aim = None if to == BASE else to
    keep = known.index(aim) + 1 if aim is not None else 0
    undone = [name for name in reversed(applied) if known.index(name) >= keep]
    if not dry_run and undone:
        undone = await downgrade(config, environment=environment, store=store, to=aim)
    left = [name for name in applied if name not in undone]
    return MigrationReport(
        store=store,
        target=environment,
        current=report.current if dry_run else (left[-1] if left else None),
        pending=report.pending if dry_run else [name for name in known if name not in left],
        problems=report.problems,
        undone=undone,
    )
