"""A real Vault or OpenBao in development mode, where one of their programs is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx


class NoVaultError(Exception):
    """There is none here; the message says what would help."""


@contextmanager
def vault_address() -> Iterator[tuple[str, str]]:
    """Address and token of a server with the transit key `sealing`; NoVaultError."""
    program = shutil.which("vault") or shutil.which("bao")
    if program is None:
        raise NoVaultError("neither `vault` nor `bao` is installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, token = f"http://127.0.0.1:{port}", "root"
    with tempfile.TemporaryDirectory() as home:  # it writes its token there
        server = subprocess.Popen(
            [
                program,
                "server",
                "-dev",
                f"-dev-root-token-id={token}",
                f"-dev-listen-address=127.0.0.1:{port}",
            ],
            env={**os.environ, "HOME": home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _until_up(url, server)
            _post(f"{url}/v1/sys/mounts/transit", token, {"type": "transit"})
            _post(f"{url}/v1/transit/keys/sealing", token, {"type": "aes256-gcm96"})
            yield url, token
        finally:
            server.terminate()
            server.wait(30)


def _until_up(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"{url}/v1/sys/health", timeout=1).raise_for_status()
            return
        except httpx.HTTPError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _post(url: str, token: str, body: dict[str, str]) -> None:
    httpx.post(url, json=body, headers={"X-Vault-Token": token}, timeout=10).raise_for_status()
