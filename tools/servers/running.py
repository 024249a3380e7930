"""What a started server is, and how the ones of this machine are started."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0
ACCOUNT = "nobody"


class NoServerError(Exception):
    """Why a server cannot be had here, in one line."""


@dataclass(frozen=True)
class Running:
    """A server, its version, and the environment that sends the suites to it.

    One `is_of_the_tests` is what they start by themselves: a whole run has tried it already.
    """

    version: str
    environment: Mapping[str, str]
    is_of_the_tests: bool = False


def program(*names: str, hint: str) -> str:
    """The first of these programs that is installed; NoServerError says how to have one."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise NoServerError(f"{' or '.join(names)} is not installed: {hint}")


def said(*words: str | Path) -> str:
    """What a program prints, in one line."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    return " ".join(done.stdout.split())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def folder() -> Iterator[Path]:
    """A directory of the servers' account, gone at the end."""
    made = Path(tempfile.mkdtemp(prefix="neo-servers-"))
    give(made)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def give(*paths: Path) -> None:
    """Let the servers' account own these; harmless where this process is not root's."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(ACCOUNT)
        for path in paths:
            os.chown(path, entry.pw_uid, entry.pw_gid)


def account() -> str | None:
    """Whom servers run as: PostgreSQL refuses to be root."""
    return ACCOUNT if os.geteuid() == 0 else None


@contextmanager
def process(
    words: Sequence[str | Path], port: int, home: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server from when it listens to the end of the block; NoServerError where it does not."""
    log = home / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(  # noqa: S603 - a program of this machine
            words,
            cwd=home,
            user=account(),
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        if not wait(lambda: _listens(port), lambda: server.poll() is not None):
            lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise NoServerError(f"{Path(words[0]).name} did not start: {lines[-1]}")
        yield
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()
        server.wait()


def wait(ready: Callable[[], bool], gone: Callable[[], bool]) -> bool:
    """Whether it got ready before it went, or before patience ended."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not gone():
        if ready():
            return True
        time.sleep(0.05)
    return False


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
