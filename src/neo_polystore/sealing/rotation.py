"""Rotation: a new master key, every item sealed anew under it, the old one destroyed.

Nothing is remembered between runs but what stands in the database: which keys are retiring and
which items name them. So a run that was killed is resumed by the next, whoever starts it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from neo_polystore.errors import ConflictError, PolystoreError
from neo_polystore.ports.keys import KeyWrapper, StoredKey
from neo_polystore.records.sealing import Head, Owner
from neo_polystore.sealing.ahead import Ahead
from neo_polystore.sealing.items import OwnItems
from neo_polystore.sealing.service import Sealing

Progress = Callable[[int, int], None]
"""Told how many items are done, of how many."""

BATCH = 500

BYTES = 8 << 20
"""Content that is sealed anew in one commit; an item that alone has more goes part by part."""

AT_ONCE = 2
"""Batches under way: one is sealed here while the server stores the other."""


@dataclass
class Rotation:
    """What a rotation did. `failed` are items that do not open, with the reason: their key stays.

    `resumed` says that it went on where another had stopped, with the key that one had made.
    """

    active: str | None
    resumed: bool = False
    items: int = 0
    resealed: int = 0
    destroyed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False


async def rotate(
    sealing: Sealing,
    *,
    batch: int = BATCH,
    progress: Progress = lambda done, total: None,
    dry_run: bool = False,
    reason: str = "rotation",
) -> Rotation:
    """Rotate, or complete a rotation that was interrupted. Nothing is lost if it is killed.

    Everybody may seal and open meanwhile. Items are taken by owner, in batches that are each
    committed as a whole. A key is destroyed when nothing is sealed under it any more.
    """
    store = sealing.ring.store
    keys = await store.all()
    retiring = [key for key in keys if key.state == "retiring"]
    active = next((key.id for key in keys if key.state == "active"), None)
    done = Rotation(active, resumed=bool(retiring), dry_run=dry_run)
    if not retiring and active is not None:
        retiring = [key for key in keys if key.id == active]
        if not dry_run:
            done.active = (await sealing.ring.succeed(reason=reason)).id
            await _record(sealing, done.active, {"retires": active})
    owners = {key.id: await sealing.owners(key.id) for key in retiring}
    done.items = sum(sum(found.values()) for found in owners.values())
    progress(0, done.items)
    if dry_run:
        return done
    for key in retiring:
        for owner in owners[key.id]:
            await _owner(sealing, key.id, owner, done, batch=batch, progress=progress)
        if not done.failed:
            await _destroy(sealing, key, done)
    return done


async def _owner(
    sealing: Sealing,
    key_id: str,
    owner: Owner,
    done: Rotation,
    *,
    batch: int,
    progress: Progress,
) -> None:
    own = sealing.of(owner, actor="rotation")

    async def one(keys: list[str], size: int) -> None:
        resealed = await _batch(own, keys, done, large=size > BYTES)
        done.resealed += resealed
        progress(done.resealed, done.items)

    async with Ahead(AT_ONCE) as ahead, aclosing(_batches(own, key_id, batch)) as batches:
        async for keys, size in batches:
            await ahead.begin(one(keys, size))


async def _batches(
    own: OwnItems, key_id: str, batch: int
) -> AsyncGenerator[tuple[list[str], int], None]:
    after = ""
    while heads := await own.under(key_id, after=after, limit=batch):
        for keys, size in _by_bytes(heads):
            yield keys, size
        after = heads[-1].binding.data_key


def _by_bytes(heads: Sequence[Head]) -> Iterator[tuple[list[str], int]]:
    """Keys that are sealed anew together, and their bytes: over BYTES only one that has more."""
    keys: list[str] = []
    size = 0
    for head in heads:
        if keys and size + head.size > BYTES:
            yield keys, size
            keys, size = [], 0
        keys.append(head.binding.data_key)
        size += head.size
    if keys:
        yield keys, size


async def _batch(own: OwnItems, keys: list[str], done: Rotation, *, large: bool = False) -> int:
    """All at once; where one of them does not open, one after the other."""
    try:
        return await (own.reseal_large(keys[0]) if large else own.reseal(keys))
    except PolystoreError as error:
        if error.exit_code == 3:
            raise  # the store is away: nothing is wrong with the items
        if len(keys) == 1:
            done.failed[f"{own.owner}/{keys[0]}"] = error.message
            return 0
    half = len(keys) // 2
    return await _batch(own, keys[:half], done) + await _batch(own, keys[half:], done)


async def _destroy(sealing: Sealing, key: StoredKey, done: Rotation) -> None:
    ring = sealing.ring
    try:
        await ring.store.destroy(key.id)
    except ConflictError:
        if (await ring.store.get(key.id)).state != "destroyed":  # else by another rotation
            raise
    ring.forget(key.id)
    done.destroyed.append(key.id)
    await _record(sealing, key.id, {"destroyed": True})


async def _record(sealing: Sealing, key_id: str, details: dict[str, Any]) -> None:
    await sealing.trail().record("EXECUTE", "sealing_key", key_id, details=details)


async def rewrap(sealing: Sealing, *, old: KeyWrapper) -> int:
    """Wrap every master key anew by the ring's wrapper, unwrapping with `old`; how many were.

    For another SGX_ENCRYPTION_KEY, or another kind of wrapper. Keys that were wrapped anew by a
    run that was interrupted are passed over, so it can simply be run again.
    """
    ring, count = sealing.ring, 0
    for key in await ring.store.all():
        if key.wrapped is None:
            continue
        try:
            await ring.wrapper.unwrap(key.wrapped, context=key.id)
        except PolystoreError as error:
            if error.exit_code == 3:
                raise
            material = await old.unwrap(key.wrapped, context=key.id)
            await ring.store.rewrap(key.id, await ring.wrapper.wrap(material, context=key.id))
            await _record(sealing, key.id, {"wrapped_by": ring.wrapper.name})
            count += 1
    return count
