"""Joining and leaving: servers live exactly as long as somebody uses them."""

# ruff: noqa: ASYNC240 - a look at a local file

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from neo_polystore.embedded import EmbeddedError, EmbeddedOptions, Membership, status
from tests.embedded import clients
from tests.embedded.conftest import Join, eventually
from tests.embedded.members import member
from tests.embedded.processes import left_overs


async def test_leaving_last_stops_everything(data_dir: Path, join: Join) -> None:
    one = await join()
    await asyncio.gather(one.ensure("postgres"), one.ensure("redis"))
    assert left_overs(data_dir)
    await one.leave()
    await eventually(lambda: not left_overs(data_dir), 2)
    assert not status(data_dir).running


async def test_joining_starts_no_server(data_dir: Path, join: Join) -> None:
    await join()
    servers = status(data_dir).servers or {}
    assert {one.state for one in servers.values()} == {"stopped"}


async def test_addresses_are_stable_across_restarts(join: Join) -> None:
    one = await join()
    before = await one.ensure("redis")
    await one.leave()
    again = await join()
    assert await again.ensure("redis") == before


async def test_password_is_not_shown(join: Join) -> None:
    address = await (await join()).ensure("redis")
    assert address.password not in repr(address)


async def test_secrets_are_private(data_dir: Path, join: Join) -> None:
    await join()
    assert (data_dir / "secrets.json").stat().st_mode & 0o777 == 0o600


async def test_two_processes_share_and_the_last_one_stops(data_dir: Path) -> None:
    async with member(data_dir) as first, member(data_dir) as second:
        assert await first.ensure("redis") == await second.ensure("redis")
        assert set(status(data_dir).members) == {first.pid, second.pid}
        await first.leave()
        assert status(data_dir).running
        await second.leave()
        assert not status(data_dir).running


async def test_two_processes_start_at_once(data_dir: Path) -> None:
    async with member(data_dir) as first, member(data_dir) as second, member(data_dir) as third:
        answers = await asyncio.gather(*(one.ensure("redis") for one in (first, second, third)))
        assert len(set(answers)) == 1


async def test_killed_member_counts_as_gone(data_dir: Path) -> None:
    async with member(data_dir) as only:
        await only.ensure("redis")
        await only.kill()
        await eventually(lambda: not status(data_dir).running)
        await eventually(lambda: not left_overs(data_dir), 2)


async def test_joining_while_the_last_one_leaves(join: Join) -> None:
    one = await join()
    await one.ensure("redis")
    for _ in range(3):
        _, two = await asyncio.gather(one.leave(), join())
        client = clients.redis_client(await two.ensure("redis"))
        assert await client.ping()
        await client.aclose()
        one = two


async def test_leaving_twice_does_nothing(join: Join) -> None:
    one = await join()
    await one.leave()
    await one.leave()
    with pytest.raises(EmbeddedError, match="left"):
        await one.ensure("redis")


async def test_unknown_server_is_an_error(join: Join) -> None:
    with pytest.raises(EmbeddedError, match="no embedded server 'mysql'"):
        await (await join()).ensure("mysql")


async def test_other_options_than_the_running_keepers_are_refused(
    data_dir: Path, join: Join
) -> None:
    await join()
    with pytest.raises(EmbeddedError, match="already run with pg_bin=None"):
        await Membership.join(data_dir, EmbeddedOptions(pg_bin=Path("/elsewhere")))


async def test_status_of_nothing_starts_nothing(data_dir: Path) -> None:
    assert not status(data_dir).running
    assert not data_dir.exists()
