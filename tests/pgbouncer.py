"""A PgBouncer in transaction mode before a real server, started by the tests that need one.

Debian's package serves (`apt-get install pgbouncer`); without the program those tests are skipped.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

ACCOUNT = "nobody"
"""Whom it runs as where the tests are root's: it refuses to be root."""


def program() -> str:
    """Where the program is; skips the test where it is not installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"  # no user's PATH has them
    found = shutil.which("pgbouncer", path=path)
    if found is None:
        pytest.skip("pgbouncer is not installed: `apt-get install pgbouncer`, as root")
    return found


@asynccontextmanager
async def pgbouncer(
    host: str, port: int, secrets: Mapping[str, str], *, connections: int
) -> AsyncIterator[int]:
    """The port of a pooler with that many server connections per database and role.

    `secrets` are the roles' stored passwords (`pg_authid.rolpassword`): with SCRAM the pooler
    takes the proof of its client to the server, and knows no password.
    """
    command = program()
    listen = _free_port()
    directory = _configured(host, port, listen, secrets, connections)
    process = subprocess.Popen(
        [command, "-q", str(directory / "pgbouncer.ini")],
        user=ACCOUNT if os.geteuid() == 0 else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await _listening(process, listen, directory / "log")
        yield listen
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


def _configured(
    host: str, port: int, listen: int, secrets: Mapping[str, str], connections: int
) -> Path:
    """A directory with the pooler's files, its own."""
    directory = Path(tempfile.mkdtemp(prefix="neo-pgbouncer-"))
    users = "".join(f'"{role}" "{secret}"\n' for role, secret in secrets.items())
    (directory / "userlist.txt").write_text(users)
    (directory / "pgbouncer.ini").write_text(
        f"""[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/userlist.txt
pool_mode = transaction
max_client_conn = 200
default_pool_size = {connections}
logfile = {directory}/log
pidfile = {directory}/pid
"""
    )
    if os.geteuid() == 0:
        entry = pwd.getpwnam(ACCOUNT)
        for path in (directory, *directory.iterdir()):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    return directory


def _said(log: Path) -> str:
    return log.read_text() if log.exists() else "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    async with asyncio.timeout(10):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"pgbouncer ended at once: {_said(log)}")
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)
