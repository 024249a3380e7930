"""Rotation: everything moves to the new key, nothing is lost, the old key opens nothing."""

from __future__ import annotations

import asyncio
import random
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from neo_polystore.embedded import Membership
from neo_polystore.errors import IntegrityError
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.keys.local import LocalWrapper
from neo_polystore.polystore import Polystore
from neo_polystore.sealing.items import OwnItems
from neo_polystore.sealing.ring import KeyRing
from neo_polystore.sealing.rotation import rewrap, rotate
from neo_polystore.sealing.service import Sealing
from tests.cli.conftest import command, environment
from tests.sealing.conftest import OPENER, Bench, draft


async def filled(own: OwnItems, count: int) -> dict[str, bytes]:
    """Seal so many items; their contents by key."""
    contents = {f"{uuid4().hex[:8]}/{n:04}": b"content %d" % n for n in range(count)}
    await own.seal_all([draft(key, content) for key, content in contents.items()])
    return contents


async def contents_of(own: OwnItems, keys: dict[str, bytes]) -> dict[str, bytes]:
    opened = await own.open_all(list(keys), OPENER)
    return {item.head.binding.data_key: bytes(item.content) for item in opened}


async def keys_of(sealing: Sealing) -> dict[str, str]:
    return {key.id: key.state for key in await sealing.ring.store.all()}


async def test_everything_is_under_the_new_key_and_the_old_one_is_gone(
    bench: Bench, items: OwnItems, service: OwnItems
) -> None:
    mine, theirs = await filled(items, 25), await filled(service, 25)
    [before] = {head.key_id for head in await service.heads()}
    versions = [head.binding.version for head in await service.heads()]
    told: list[tuple[int, int]] = []
    done = await rotate(bench.sealing, batch=10, progress=lambda *at: told.append(at))
    assert done.destroyed == [before]
    assert not done.failed
    assert told[0][0] == 0
    assert told[-1] == (done.items, done.items)
    assert (await contents_of(items, mine), await contents_of(service, theirs)) == (mine, theirs)
    assert {head.key_id for head in await service.heads()} == {done.active}
    assert [head.binding.version for head in await service.heads()] == versions
    stored = await bench.sealing.ring.store.get(before)
    assert (stored.state, stored.wrapped) == ("destroyed", None)
    assert [found.key_id for found in await bench.sealing.survey()] == [done.active] * len(
        await bench.sealing.survey()
    )


async def test_another_process_goes_on_sealing_and_opening(bench: Bench) -> None:
    other = bench.another().of_service(f"s{uuid4().hex[:8]}")
    kept = await filled(other, 3)
    done = await rotate(bench.sealing)
    assert await contents_of(other, kept) == kept
    assert (await other.seal(draft())).key_id == done.active


async def test_a_blob_of_before_opens_nowhere_after(bench: Bench, service: OwnItems) -> None:
    one = draft()
    await service.seal(one)
    late = bench.another().of(service.owner)
    await late.open(one.data_key, OPENER)  # its ring holds the old key
    text = "SELECT * FROM {} WHERE {} = $1"
    table, heads = "sgx.sealed_data_items", "enclave.sealed_heads"
    row = await bench.administrator.fetchrow(text.format(table, "item_key"), one.data_key)
    head = await bench.administrator.fetchrow(text.format(heads, "data_key"), one.data_key)
    assert row is not None
    assert head is not None
    await rotate(bench.sealing)
    await bench.administrator.execute(
        f"UPDATE {table} SET sealed_data = $2, mac = $3 WHERE item_key = $1",
        one.data_key,
        row["sealed_data"],
        row["mac"],
    )
    for own in (service, late):
        with pytest.raises(IntegrityError, match="written last"):
            await own.open(one.data_key, OPENER)
    await bench.administrator.execute(
        f"UPDATE {heads} SET mac = $2, key_id = $3, generation = generation + 1"
        " WHERE data_key = $1",
        one.data_key,
        head["mac"],
        head["key_id"],
    )
    for own in (service, late):
        with pytest.raises(IntegrityError, match="destroyed"):
            await own.open(one.data_key, OPENER)
    await service.delete(one.data_key)


async def test_an_item_that_does_not_open_keeps_its_key(bench: Bench, service: OwnItems) -> None:
    bad, good = draft(), await filled(service, 7)
    await service.seal(bad)
    await bench.administrator.execute(
        "UPDATE sgx.sealed_data_items SET sealed_data = set_byte(sealed_data, 70, 255"
        " - get_byte(sealed_data, 70)) WHERE item_key = $1",
        bad.data_key,
    )
    done = await rotate(bench.sealing)
    assert list(done.failed) == [f"{service.owner}/{bad.data_key}"]
    assert not done.destroyed
    assert await contents_of(service, good) == good
    await service.delete(bad.data_key)
    again = await rotate(bench.sealing)
    assert again.resumed
    assert len(again.destroyed) == 1


async def test_a_dry_run_changes_nothing(bench: Bench, service: OwnItems) -> None:
    await filled(service, 2)
    before = await keys_of(bench.sealing)
    done = await rotate(bench.sealing, dry_run=True)
    assert done.items >= 2
    assert await keys_of(bench.sealing) == before


async def test_those_who_write_meanwhile_lose_nothing(bench: Bench, service: OwnItems) -> None:
    contents = await filled(service, 40)
    writer = bench.another().of(service.owner)

    async def write() -> None:
        for key in list(contents)[::3]:
            contents[key] += b" changed"
            await writer.seal(draft(key, contents[key]))

    _, done = await asyncio.gather(write(), rotate(bench.sealing, batch=5))
    assert not done.failed
    assert await contents_of(service, contents) == contents
    assert {head.key_id for head in await service.heads()} == {done.active}


async def test_two_rotations_at_once_end_with_one_key(bench: Bench, service: OwnItems) -> None:
    contents = await filled(service, 30)
    await asyncio.gather(
        rotate(bench.sealing, batch=3), rotate(bench.another(), batch=4), return_exceptions=True
    )
    await rotate(bench.sealing)
    assert await contents_of(service, contents) == contents
    states = list((await keys_of(bench.sealing)).values())
    assert states.count("active") == 1
    assert "retiring" not in states


async def test_keys_are_wrapped_anew_under_another_wrapping_key(
    bench: Bench, service: OwnItems
) -> None:
    contents = await filled(service, 2)
    old, new = LocalWrapper(bytes(32)), LocalWrapper(b"n" * 32)
    sealing = bench.another()
    sealing.ring = KeyRing(bench.store.sealing_keys, lambda: new)
    assert await rewrap(sealing, old=old) == 1
    assert await rewrap(sealing, old=old) == 0
    assert await contents_of(sealing.of(service.owner), contents) == contents
    sealing.ring = KeyRing(bench.store.sealing_keys, lambda: old)
    assert await rewrap(sealing, old=new) == 1


async def killed(polystore: Polystore, embedded: Membership, data_dir: Path, times: int) -> None:
    """Kill rotations when a random part of the items is done, then let one end."""
    chance = random.Random(times)
    sealing = polystore.sealing
    user = sealing.of_user(SYSTEM_TENANT, SYSTEM_USER)
    service = sealing.of_service(f"s{uuid4().hex[:8]}")
    mine, theirs = await filled(user, 150), await filled(service, 150)
    old = (await sealing.ring.active()).id
    words = command("sealed", "rotate", "--batch", "5", "--json")
    lasted = 0
    for _ in range(times):
        waiting = sum((await sealing.owners(old)).values())
        if not waiting:
            old = next(key for key, state in (await keys_of(sealing)).items() if state == "active")
            waiting = sum((await sealing.owners(old)).values())
        left = waiting - chance.randrange(1, max(2, waiting // 3))
        process = subprocess.Popen(
            words, env=environment(data_dir), cwd=data_dir, stdout=subprocess.DEVNULL
        )
        while process.poll() is None:
            if sum((await sealing.owners(old)).values()) <= left:
                process.kill()
            await asyncio.sleep(0)
        assert process.returncode in (0, -9)
        lasted += process.returncode == -9
        assert (await contents_of(user, mine), await contents_of(service, theirs)) == (mine, theirs)
    assert lasted > times // 2
    done = await rotate(sealing)
    assert not done.failed
    assert (await contents_of(user, mine), await contents_of(service, theirs)) == (mine, theirs)
    after = await keys_of(sealing)
    assert [key for key, state in after.items() if state != "destroyed"] == [done.active]
    assert set(await sealing.owners(str(done.active))) >= {user.owner, service.owner}
    for key, state in after.items():
        assert state != "destroyed" or not await sealing.owners(key)


async def test_a_rotation_that_is_killed_three_times_loses_nothing(
    polystore: Polystore, embedded: Membership, data_dir: Path
) -> None:
    await killed(polystore, embedded, data_dir, 3)


@pytest.mark.long
async def test_a_rotation_that_is_killed_twenty_times_loses_nothing(
    polystore: Polystore, embedded: Membership, data_dir: Path
) -> None:
    await killed(polystore, embedded, data_dir, 20)
