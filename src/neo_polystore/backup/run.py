"""Makes one run: snapshots of all stores in order, their streams in parts, a manifest last."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, get_args

from neo_polystore import __version__
from neo_polystore.backup import manifest as files
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Manifest, SavedStore, SavedStream
from neo_polystore.backup.sending import PART_BYTES, Sender
from neo_polystore.backup.targets import DirectoryTarget, Target
from neo_polystore.errors import BackupError, UnsupportedError, UsageError
from neo_polystore.ports.backup import Backed, Backing, BackupScope, Phase, Snapshot, Stream
from neo_polystore.ports.store import Store
from neo_polystore.routing import RoutingTable

READERS = min(4, (os.cpu_count() or 1) + 1)
"""Streams that are read at once: one more than processors, because some wait."""


class Progress:
    """What is told of a run while it goes on; the base class listens to nothing."""

    def started(self, run: str, total: int) -> None:
        """The run's id, and about how many bytes of content there are."""

    def advanced(self, content: int, stored: int, sent: int) -> None:
        """So many more bytes are done."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to back up: `stores` by name (None: those that the routing table says), or one schema.

    `resume` names a run that has no manifest yet: what is stored of it and still the same is not
    sent again.
    """

    stores: Collection[str] | None = None
    schema: str | None = None
    resume: str | None = None
    part_bytes: int = PART_BYTES


@dataclass
class _Chosen:
    """A store of this run. `snapshot` is None where it cannot be backed up."""

    name: str
    backing: Backing
    before: Mapping[str, Any] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    snapshot_at: datetime | None = None
    refused: str | None = None
    streams: dict[str, SavedStream] = field(default_factory=dict)


def _now() -> datetime:
    return datetime.now(UTC)


async def run_backup(
    stores: Mapping[str, Store],
    routing: RoutingTable,
    target: Target,
    *,
    key: BackupKey | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
    now: Callable[[], datetime] = _now,
) -> Manifest:
    """Back up stores (which need not be connected) and answer the manifest that was written.

    Raises UsageError for a store or schema that cannot be meant, ConfigError and UnavailableError
    where a store or the target cannot be used. A run that fails has no manifest, so it is no
    backup; what is stored of it can be resumed, or removed by pruning.
    """
    options, progress = options or Options(), progress or Progress()
    unknown = set(options.stores or ()) - set(stores)
    if unknown:
        raise UsageError(f"no store {min(unknown)!r}; there are {', '.join(sorted(stores))}")
    if options.schema is not None and len(options.stores or ()) != 1:
        raise UsageError("a schema is that of one store: name the store")
    await asyncio.to_thread(target.check, writing=True)
    started = now()
    run = options.resume or files.run_id(started, f"{secrets.randbelow(16**3):03x}")
    existing = await asyncio.to_thread(_existing, target, run) if options.resume else {}
    sender = Sender(
        target,
        run,
        key=key,
        existing=existing,
        part_bytes=options.part_bytes,
        advanced=progress.advanced,
    )
    try:
        saved = await _save(stores, routing, sender, run, options, progress, now)
    finally:
        await sender.close()
    manifest = Manifest(
        id=run,
        started=started,
        finished=max(started, now()),  # the clock may have been set back meanwhile
        versions=versions(),
        profile=routing.profile,
        scope={"schema": options.schema, "stores": ",".join(sorted(options.stores or ())) or None},
        part_bytes=options.part_bytes,
        key_id=key.id if key is not None else None,
        stores=tuple(saved),
    )
    await asyncio.to_thread(finish, target, manifest, key)
    return manifest


async def _save(
    stores: Mapping[str, Store],
    routing: RoutingTable,
    sender: Sender,
    run: str,
    options: Options,
    progress: Progress,
    now: Callable[[], datetime],
) -> list[SavedStore]:
    chosen, others = _choose(stores, routing, options)
    scope = BackupScope(schema=options.schema)
    async with AsyncExitStack() as stack:
        for each in chosen:
            each.before = await stack.enter_async_context(each.backing.before())
        progress.started(run, 0)
        held: list[tuple[_Chosen, Stream]] = []
        for phase in get_args(Phase):
            at_once: list[tuple[_Chosen, Stream]] = []
            for each in (each for each in chosen if each.backing.phase == phase):
                await _take(stack, each, scope, options, now)
                if each.snapshot is not None:
                    streams = [(each, stream) for stream in each.snapshot.streams()]
                    (held if each.snapshot.held else at_once).extend(streams)
            total = sum(stream.size for _, stream in held + at_once)
            progress.started(run, total)
            await _read(sender, at_once)
        await _read(sender, sorted(held, key=lambda pair: -pair[1].size))
        return [_described(each, routing) for each in chosen] + others


async def _take(
    stack: AsyncExitStack,
    each: _Chosen,
    scope: BackupScope,
    options: Options,
    now: Callable[[], datetime],
) -> None:
    each.snapshot_at = now()
    try:
        each.snapshot = await stack.enter_async_context(each.backing.snapshot(scope))
    except UnsupportedError as error:
        if options.stores is not None:
            raise
        each.refused = error.message


async def _read(sender: Sender, work: list[tuple[_Chosen, Stream]]) -> None:
    """Read streams, several at a time, in this order."""
    waiting = iter(work)

    async def reader() -> None:
        for each, stream in waiting:
            assert each.snapshot is not None  # noqa: S101 - only such streams are listed
            parts = await sender.send(each.name, stream.name, each.snapshot.read(stream.name))
            each.streams[stream.name] = SavedStream(
                name=stream.name,
                rows=each.snapshot.rows(stream.name),
                exact=stream.exact,
                parts=parts,
            )

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(READERS):
                group.create_task(reader())
    except ExceptionGroup as several:
        raise several.exceptions[0] from None


def _choose(
    stores: Mapping[str, Store], routing: RoutingTable, options: Options
) -> tuple[list[_Chosen], list[SavedStore]]:
    """The stores of this run, and why the others are none; one database is backed up once."""
    backings = {name: s.backing for name, s in stores.items() if isinstance(s, Backed)}
    leading = {b.place: name for name, b in backings.items() if b.phase == "leads"}
    homes: dict[str, str] = {}
    for name, backing in backings.items():
        homes.setdefault(backing.place, leading.get(backing.place, name))
    chosen: list[_Chosen] = []
    others: list[SavedStore] = []
    for name in sorted(stores):
        reason = _reason(name, routing, options, backings.get(name))
        within = homes[backings[name].place] if name in backings else name
        if reason is None and within != name and options.stores is None:
            others.append(SavedStore(name=name, data_types=_types(name, routing), within=within))
        elif reason is None:
            chosen.append(_Chosen(name, backings[name]))
        else:
            others.append(SavedStore(name=name, data_types=_types(name, routing), not_saved=reason))
    return chosen, others


def _reason(
    name: str, routing: RoutingTable, options: Options, backing: Backing | None
) -> str | None:
    """Why a store is not backed up; None where it is."""
    if options.stores is not None and name not in options.stores:
        return "not asked for"
    if backing is None:
        reason = f"the engine {name} offers no backup: use its own tools"
        if options.stores is not None:
            raise UnsupportedError(reason, store=name, operation="backup")
        return reason
    routes = [route for route in routing if route.primary == name]
    if options.stores is None and backing.phase != "content" and not any(r.backup for r in routes):
        what = ", ".join(route.data_type for route in routes) or "it"
        return f"the routing table wants no backup of {what}"
    return None


def _types(name: str, routing: RoutingTable) -> tuple[str, ...]:
    return tuple(route.data_type for route in routing if route.primary == name)


def _described(each: _Chosen, routing: RoutingTable) -> SavedStore:
    snapshot = each.snapshot
    if snapshot is None:
        return SavedStore(
            name=each.name, data_types=_types(each.name, routing), not_saved=each.refused
        )
    return SavedStore(
        name=each.name,
        data_types=_types(each.name, routing),
        place=each.backing.place,
        snapshot_at=each.snapshot_at,
        positions=dict(snapshot.positions),
        before=dict(each.before),
        excluded=dict(snapshot.excluded),
        streams=tuple(each.streams[stream.name] for stream in snapshot.streams()),
    )


def _existing(target: Target, run: str) -> dict[str, int]:
    """What the target has of a run that is to go on."""
    found = {item.name: item.size for item in target.list(files.folder_of(run))}
    if not found:
        raise BackupError(f"there is nothing of a run {run} to resume")
    if files.folder_of(run) + files.NAME in found:
        raise BackupError(f"run {run} is complete: there is nothing to resume")
    return found


def finish(target: Target, manifest: Manifest, key: BackupKey | None) -> None:
    """Write the manifest, which makes it a backup; what no longer belongs to it goes before."""
    folder = manifest.folder
    wanted = {
        folder + part.name
        for store in manifest.stores
        for stream in store.streams
        for part in stream.parts
    }
    found = {item.name: item.size for item in target.list(folder)}
    if lost := wanted - set(found):
        raise BackupError(f"{min(lost)} was stored and is not there any more")
    for name in set(found) - wanted:
        target.delete(name)
    if isinstance(target, DirectoryTarget):
        for name in list(target.leftovers(folder)):
            target.delete(name)
    target.put(folder + files.NAME, files.dump(manifest, key))


def versions() -> dict[str, str]:
    """Of what writes a backup."""
    return {"neo-polystore": __version__, "zstandard": version("zstandard")}
