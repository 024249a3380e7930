"""A MongoDB for the tests: the one that NEO_TEST_MONGO_URL names, or a FerretDB of their own.

FerretDB speaks MongoDB's protocol over SQLite files. It is built once, by the Go toolchain, from
the module that is pinned beside this file, into `build/`; see `DEVIATIONS` in
`tests/conformance/deviations.toml` for what it cannot do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.go_program import NoProgramError, built

FOLDER = Path(__file__).parent
URL = "NEO_TEST_MONGO_URL"


class NoServerError(Exception):
    """Why there is no MongoDB to test against, in one line."""


@contextmanager
def mongo_url() -> Iterator[str]:
    """The address of a server, which stops at the end; raises NoServerError where there is none."""
    if url := os.environ.get(URL):
        yield url
        return
    program = _program()
    directory = tempfile.mkdtemp(prefix="neo-polystore-ferretdb-")
    server = subprocess.Popen(
        [program, "-data", directory, "-listen", "127.0.0.1:0"],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        word, _, url = server.stdout.readline().strip().partition(" ")
        if word != "ready":
            raise NoServerError(f"FerretDB did not start (exit status {server.wait(10)})")
        yield url
    finally:
        server.stdin.close()
        server.wait(30)
        server.stdout.close()
        shutil.rmtree(directory, ignore_errors=True)


def _program() -> Path:
    try:
        return built(FOLDER, "ferretdb")
    except NoProgramError as error:
        raise NoServerError(f"no MongoDB: {URL} names none, and {error}") from None
