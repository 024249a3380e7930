"""Brings stores back from a run: a plan first, everything checked before anything is touched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from neo_polystore.backup.manifest import Manifest, SavedStore
from neo_polystore.backup.reading import RunReader
from neo_polystore.errors import ConflictError, IntegrityError, UnsupportedError, UsageError
from neo_polystore.ports.backup import Backed, Backing, BackupScope, Demanding
from neo_polystore.ports.store import Store


@dataclass(frozen=True, slots=True)
class Step:
    """One store to be restored: from where in the run, to where, and what is there now.

    `source` is the store that has the rows in the run; it is another one where both live in one
    database. `occupied` is None where the target is empty.
    """

    store: str
    source: str
    schema: str | None
    place: str
    rows: int
    content_bytes: int
    stored_bytes: int
    occupied: str | None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a step has brought back."""

    store: str
    place: str
    rows: dict[str, int]


async def plan(
    reader: RunReader,
    stores: Mapping[str, Store],
    *,
    only: Collection[str] | None = None,
    schema: str | None = None,
) -> list[Step]:
    """What a restore would do, in order; touches nothing.

    Raises UsageError for a store that the run or the installation does not have, IntegrityError
    where parts are missing or have another size. A run of one schema restores that schema.
    """
    manifest = reader.manifest
    if schema is not None and len(only or ()) != 1:
        raise UsageError("a schema is that of one store: name the store")
    schema = schema or manifest.scope.get("schema")
    wanted = _wanted(manifest, only)
    if missing := await reader.missing():
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise IntegrityError(f"run {manifest.id}: {missing[0]}{more}", operation="restore")
    steps = []
    for saved in wanted:
        source = manifest.store(saved.within) if saved.within else saved
        own = backing_of(stores, saved.name)
        home = own.home if saved.within else None
        backing = backing_of(stores, source.name)
        scope = BackupScope(schema or home)
        chosen = [s for s in source.streams if chooser(scope)(s.name)]
        if scope.schema is not None and not any(s.name.startswith("t.") for s in chosen):
            raise UsageError(f"run {manifest.id} has no schema {scope.schema!r} of {source.name}")
        steps.append(
            Step(
                store=saved.name,
                source=source.name,
                schema=scope.schema,
                place=backing.place,
                rows=sum(stream.rows or 0 for stream in chosen),
                content_bytes=sum(stream.content_bytes for stream in chosen),
                stored_bytes=sum(stream.stored_bytes for stream in chosen),
                occupied=await backing.occupied(scope),
            )
        )
    return steps


async def execute(
    reader: RunReader,
    stores: Mapping[str, Store],
    steps: Collection[Step],
    *,
    force: bool = False,
    as_it_was: bool = False,
) -> list[Restored]:
    """Do what `plan` has answered.

    Raises ConflictError where a target is not empty, unless `force` clears it first, before any
    store is touched. A store whose restore fails is left empty; those before it stay restored.
    """
    full = [step for step in steps if step.occupied]
    if full and not force:
        reasons = "; ".join(f"{step.store}: {step.occupied}" for step in full)
        raise ConflictError(f"{reasons}. Nothing was touched; --force replaces it",
                            operation="restore")  # fmt: skip
    for step in steps:
        backing = backing_of(stores, step.source)
        if isinstance(backing, Demanding):
            scope = BackupScope(step.schema)
            await backing.check(reader.store(step.source, chosen=chooser(scope)), scope)
    for step in full:
        await backing_of(stores, step.source).clear(BackupScope(step.schema))
    done = []
    for step in steps:
        scope = BackupScope(step.schema)
        backing = backing_of(stores, step.source)
        saved = reader.store(step.source, chosen=chooser(scope), as_it_was=as_it_was)
        try:
            rows = await backing.restore(saved, scope)
        except BaseException:
            await backing.clear(scope)
            raise
        done.append(Restored(step.store, step.place, rows))
    return done


def chooser(scope: BackupScope) -> Callable[[str], bool]:
    """Which streams of a database belong to a scope."""
    if scope.schema is None:
        return lambda stream: True
    prefix = f"t.{scope.schema}."
    return lambda stream: stream.startswith(prefix) or not stream.startswith("t.")


def backing_of(stores: Mapping[str, Store], name: str) -> Backing:
    """How a store of this installation is restored."""
    if name not in stores:
        raise UsageError(f"this installation has no store {name!r}: it has {', '.join(stores)}")
    store: Any = stores[name]
    if not isinstance(store, Backed):
        raise UnsupportedError(f"the engine {name} offers no restore", store=name)
    return store.backing


def _wanted(manifest: Manifest, only: Collection[str] | None) -> list[SavedStore]:
    """The stores to be restored; a database that is restored whole brings those within it."""
    if only is None:
        return [store for store in manifest.stores if store.streams]
    found = [manifest.store(name) for name in sorted(only)]
    for store in found:
        if store.not_saved:
            raise UsageError(f"run {manifest.id} has nothing of {store.name}: {store.not_saved}")
    return [s for s in found if not (s.within and s.within in only)]
