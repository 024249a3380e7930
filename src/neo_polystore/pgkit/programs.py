"""PostgreSQL's own programs, run as one of our roles; passwords go by the environment."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from neo_polystore.errors import BackupError, ConfigError, UnavailableError
from neo_polystore.pgkit.database import PgConfig


def program(folder: Path | None, name: str) -> Path:
    """Where pg_dump, pg_restore, ... is, by default in PATH; ConfigError where there is none."""
    found = folder / name if folder is not None else shutil.which(name)
    if found is None or not Path(found).exists():
        raise ConfigError(
            f"{name} is not installed: it comes with PostgreSQL's client programs, which must be in"
            " PATH or in the folder of NEO_EMBEDDED_PG_BIN"
        )
    return Path(found)


def as_owner(config: PgConfig) -> PgConfig:
    """The same database as its owner."""
    if not config.owner:
        return config
    return config.model_copy(update={"user": config.owner, "password": config.owner_password})


def environment(config: PgConfig) -> dict[str, str]:
    """What libpq reads, for the configuration's user."""
    return {
        **os.environ,
        "PGHOST": config.host,
        "PGPORT": str(config.port),
        "PGDATABASE": config.database,
        "PGUSER": config.user,
        "PGPASSWORD": config.password.get_secret_value(),
        "PGAPPNAME": "neo-polystore",
        **({"PGSSLMODE": config.ssl} if config.ssl else {}),
    }


@asynccontextmanager
async def running(
    config: PgConfig, name: str, *arguments: str, options: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program whose output is read by the caller, who stays until it ends.

    `options` are server settings of its connections. UnavailableError with its last words where
    it fails; it is killed where the caller leaves early.
    """
    path = program(config.programs, name)
    given = {**environment(config), **({"PGOPTIONS": options} if options else {})}
    try:
        process = await asyncio.create_subprocess_exec(
            path,
            *arguments,
            env=given,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
    except OSError as error:
        raise UnavailableError(f"{path} cannot be run: {error.strerror}") from error
    assert process.stderr is not None  # noqa: S101 - asked for above
    complaints = asyncio.create_task(process.stderr.read())
    try:
        yield process
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        words = (await complaints).decode(errors="replace").strip()
    if process.returncode:
        raise UnavailableError(f"{name} failed: {words[-2000:]}")


async def run(config: PgConfig, name: str, *arguments: str, options: str = "") -> str:
    """Run a program to its end; its output."""
    async with running(config, name, *arguments, options=options) as process:
        assert process.stdout is not None  # noqa: S101 - asked for
        out = await process.stdout.read()
    return out.decode(errors="replace")


async def own_output(folder: Path | None, name: str, *arguments: str) -> str:
    """The output of a program that needs no server; BackupError where it fails."""
    process = await asyncio.create_subprocess_exec(
        program(folder, name),
        *arguments,
        env={**os.environ, "LC_ALL": "C"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = complaints.decode(errors="replace").strip()
        raise BackupError(f"{name} failed: {words[-2000:]}")
    return out.decode(errors="replace")
