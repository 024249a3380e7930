"""The command line as a user has it: a process of its own, on a data directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from neo_polystore.embedded import Membership

Cli = Callable[..., "Answer"]


class Answer:
    """What a command printed and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]):
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def json(self) -> Any:
        """The JSON on standard output."""
        try:
            return json.loads(self.out)
        except ValueError:
            pytest.fail(f"not JSON: {self.out!r}; exit {self.code}: {self.err}")


def environment(data_dir: Path, **changes: str) -> dict[str, str]:
    """The environment of a command: ours without settings of the product, plus the changes."""
    prefixes = ("NEO_", "POSTGRES_", "REDIS_", "DB_", "S3_", "MONGO_", "CLICKHOUSE_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
    return {**kept, "NEO_DATA_DIR": str(data_dir), "NO_COLOR": "1", "COLUMNS": "200", **changes}


def command(*words: str) -> list[str]:
    """The command line of `neo-polystore WORDS`."""
    return [sys.executable, "-m", "neo_polystore", *words]


@pytest.fixture(scope="session")
def cli(data_dir: Path, embedded: Membership) -> Cli:
    """Run a command on the shared data directory: `cli("routes", "--json")`."""

    def run(*words: str, data: Path | None = None, **changes: str) -> Answer:
        return Answer(
            subprocess.run(
                command(*words),
                capture_output=True,
                text=True,
                timeout=120,
                cwd=data_dir,
                env=environment(data or data_dir, **changes),
            )
        )

    return run


@pytest.fixture(scope="session")
def here(data_dir: Path, embedded: Membership) -> Cli:
    """Like `cli`, in this process: quick, for commands that start nothing of their own."""
    from neo_polystore.cli.main import app

    unset = [name for name in os.environ if name not in environment(data_dir)]

    def run(*words: str, data: Path | None = None, **changes: str) -> Answer:
        wanted = {**dict.fromkeys(unset), **environment(data or data_dir, **changes)}
        done = CliRunner().invoke(app, list(words), env=wanted, prog_name="neo-polystore")
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Answer(subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr))

    return run
