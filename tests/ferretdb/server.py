"""A MongoDB for the tests: the one that NEO_TEST_MONGO_URL names, or a FerretDB of their own.

FerretDB speaks MongoDB's protocol over SQLite files. It is built once, by the Go toolchain, from
the module that is pinned beside this file, into `build/`; see `DEVIATIONS` in
`tests/conformance/deviations.toml` for what it cannot do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).parent
BUILD_SECONDS = 600
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


@lru_cache
def _program() -> Path:
    """The built server; building takes a minute or two the first time, and the network."""
    sources = [FOLDER / name for name in ("go.mod", "go.sum", "main.go")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    program = FOLDER.parents[1] / "build" / f"ferretdb-{digest}"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise NoServerError(f"no MongoDB: {URL} names none, and there is no Go to build FerretDB")
    program.parent.mkdir(exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command = ["go", "build", "-trimpath", "-o", str(fresh), "."]
    try:
        done = subprocess.run(
            command, cwd=FOLDER, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoServerError(f"no MongoDB: building FerretDB took over {BUILD_SECONDS} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise NoServerError(f"no MongoDB: FerretDB cannot be built: {last}")
    fresh.rename(program)  # whole or not at all, whoever else is building
    return program
