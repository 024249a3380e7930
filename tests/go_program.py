"""Programs in Go that tests need, built once by the Go toolchain into `build/`."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

BUILD_SECONDS = 600
_BUILD = Path(__file__).parents[1] / "build"


class NoProgramError(Exception):
    """Why it cannot be had, in one line."""


@lru_cache
def built(folder: Path, name: str) -> Path:
    """The program of a folder's module; NoProgramError where it cannot be built.

    The first time this takes a minute or two, and the network. The name of the file has the
    sources' digest in it, so that a change builds another one.
    """
    sources = [folder / file for file in ("go.mod", "go.sum", "main.go")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    program = _BUILD / f"{name}-{digest}"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise NoProgramError(f"there is no Go to build {name}")
    program.parent.mkdir(exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command = ["go", "build", "-trimpath", "-o", str(fresh), "."]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoProgramError(f"building {name} took over {BUILD_SECONDS} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise NoProgramError(f"{name} cannot be built: {last}")
    fresh.rename(program)  # whole or not at all, whoever else is building
    return program
