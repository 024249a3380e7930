"""Proves a run: restores it into servers made for the purpose, reads them again, compares.

A stream that is read from a restored store must be the stream of the backup, byte for byte, cut
at the same places; so rows, their order, their counts and every value are compared at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from neo_polystore.backup.manifest import SavedStore, SavedStream
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.restore import backing_of, execute, plan
from neo_polystore.backup.runs import PROOF, digest_of
from neo_polystore.backup.targets import Target
from neo_polystore.errors import BackupError, IntegrityError, PolystoreError
from neo_polystore.pgkit.backing import PgBacking
from neo_polystore.pgkit.backup import SCHEMA
from neo_polystore.pgkit.restore import schema_objects
from neo_polystore.ports.backup import BackupScope, Snapshot
from neo_polystore.ports.store import Store


@dataclass(frozen=True, slots=True)
class StoreProof:
    """One store: what was compared, and what differed. `ok` needs that something was."""

    ok: bool
    rows: int
    streams: int
    bytes: int
    not_compared: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """What is stored beside the run."""

    run: str
    manifest_sha256: str
    started: datetime
    finished: datetime
    stores: Mapping[str, StoreProof]

    @property
    def ok(self) -> bool:
        """Whether every store of the run is proven."""
        return bool(self.stores) and all(store.ok for store in self.stores.values())

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "stores": {n: asdict(s) for n, s in self.stores.items()},
                "ok": self.ok}  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


async def verify(
    reader: RunReader,
    target: Target,
    scratch: Mapping[str, Store],
    *,
    referenced: Mapping[str, Store] | None = None,
    only: Collection[str] | None = None,
    now: Callable[[], datetime] = _now,
) -> Proof:
    """Restore into `scratch` (empty stores that nobody uses), compare, and store the proof.

    `referenced` are stores of the installation whose backup is a list of what stays where it is:
    proven where all of it is still there, unchanged.

    A store of the run whose engine `scratch` has not is read and its digests are checked, which
    proves the bytes but no restore: it is not `ok`, and says so. What cannot be restored is a
    problem of that store; the others are proven all the same.
    """
    started = now()
    manifest = reader.manifest
    proofs: dict[str, StoreProof] = {}
    for store in manifest.stores:
        if not store.streams or (only is not None and store.name not in only):
            continue
        if store.positions.get("content") is False and store.name in (referenced or {}):
            proofs[store.name] = await _in_place(reader, referenced or {}, store)
        elif store.name in scratch:
            proofs[store.name] = await _restored(reader, scratch, store)
        else:
            proofs[store.name] = await _read_only(reader, store)
    if not proofs:
        raise BackupError(f"run {manifest.id} has nothing of what was asked for")
    proof = Proof(manifest.id, digest_of(manifest), started, now(), proofs)
    await asyncio.to_thread(
        target.put, manifest.folder + PROOF, orjson.dumps(proof.as_dict(), default=str)
    )
    return proof


async def _restored(
    reader: RunReader, scratch: Mapping[str, Store], store: SavedStore
) -> StoreProof:
    scope = BackupScope(reader.manifest.scope.get("schema"))
    backing = backing_of(scratch, store.name)
    problems: list[str] = []
    skipped: list[str] = []
    size = 0
    try:
        await execute(
            reader, scratch, await plan(reader, scratch, only=[store.name]), as_it_was=True
        )
        async with backing.snapshot(scope) as snapshot:
            problems += _listed(store, snapshot)
            for stream in store.streams if not problems else ():
                size += stream.content_bytes
                if stream.exact:
                    problems += await _compare(reader, store, stream, snapshot)
                elif stream.name == SCHEMA and isinstance(backing, PgBacking):
                    problems += await _compare_schema(reader, store, stream, snapshot, backing)
                else:
                    skipped.append(stream.name)
    except PolystoreError as error:
        problems.append(str(error))
    return StoreProof(
        not problems, store.rows, len(store.streams), size, tuple(skipped), tuple(problems)
    )


async def _in_place(
    reader: RunReader, stores: Mapping[str, Store], store: SavedStore
) -> StoreProof:
    """Compare a list with the store it was made of; restoring one writes nothing."""
    problems = []
    try:
        await backing_of(stores, store.name).restore(reader.store(store.name), BackupScope())
    except PolystoreError as error:
        problems.append(str(error))
    size = sum(stream.content_bytes for stream in store.streams)
    return StoreProof(not problems, store.rows, len(store.streams), size, (), tuple(problems))


async def _read_only(reader: RunReader, store: SavedStore) -> StoreProof:
    problems = [f"no scratch server for the engine {store.name}: digests checked, not restored"]
    size = 0
    try:
        for stream in store.streams:
            async for piece in reader.read(store.name, stream):
                size += len(piece)
    except IntegrityError as error:
        problems.append(str(error))
    return StoreProof(False, store.rows, len(store.streams), size, (), tuple(problems))


def _listed(store: SavedStore, snapshot: Snapshot) -> list[str]:
    saved = {stream.name for stream in store.streams}
    found = {stream.name for stream in snapshot.streams()}
    return [
        *(f"{name} is missing after the restore" for name in sorted(saved - found)),
        *(f"{name} is there only after the restore" for name in sorted(found - saved)),
    ]


async def _compare(
    reader: RunReader, store: SavedStore, stream: SavedStream, snapshot: Snapshot
) -> list[str]:
    digests = [
        hashlib.sha256(piece).hexdigest()
        async for piece in _cut(snapshot.read(stream.name), reader.manifest.part_bytes)
    ]
    rows = snapshot.rows(stream.name)
    if rows != stream.rows:
        return [f"{store.name}/{stream.name}: {rows} rows restored, {stream.rows} backed up"]
    expected = [part.content_sha256 for part in stream.parts]
    if digests == expected:
        return []
    place = next(
        (n for n, pair in enumerate(zip(digests, expected, strict=False)) if pair[0] != pair[1]),
        min(len(digests), len(expected)),
    )
    return [f"{store.name}/{stream.name}: differs in part {place}"]


async def _compare_schema(
    reader: RunReader,
    store: SavedStore,
    stream: SavedStream,
    snapshot: Snapshot,
    backing: PgBacking,
) -> list[str]:
    saved = b"".join([piece async for piece in reader.read(store.name, stream)])
    found = b"".join([piece async for piece in snapshot.read(stream.name)])
    objects = [set(await schema_objects(backing.config, dump)) for dump in (saved, found)]
    return [
        f"{store.name}/{stream.name}: only one of both schemas has {other}"
        for other in sorted(objects[0] ^ objects[1])[:3]
    ]


async def _cut(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in parts of `size`, at least one."""
    waiting = bytearray()
    count = 0
    async for piece in pieces:
        waiting += piece
        while len(waiting) >= size:
            count += 1
            yield bytes(waiting[:size])
            del waiting[:size]
    if waiting or not count:
        yield bytes(waiting)
