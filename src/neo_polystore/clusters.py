"""The PostgreSQL cluster itself, below databases: its administrator, a copy that recovers.

Another root beside `build.py` that knows embedded servers.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import SecretStr

from neo_polystore.addresses import EmbeddedAddresses, client_programs
from neo_polystore.embedded.files import Layout
from neo_polystore.embedded.locks import is_held, try_lock
from neo_polystore.embedded.recovery import recover
from neo_polystore.embedded.values import EmbeddedError, EmbeddedOptions
from neo_polystore.errors import BackupError, ConfigError, ConflictError, UnavailableError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.settings import Settings


@asynccontextmanager
async def administrator(settings: Settings) -> AsyncIterator[PgConfig]:
    """How to connect to the cluster as one who may back it up: embedded, or by NEO_ADMIN_URL."""
    if settings.neo_profile == "server":
        yield _of_url(settings)
        return
    addresses = await EmbeddedAddresses.open(settings)
    try:
        server = await addresses.membership.ensure("postgres")
        yield PgConfig(
            host=server.host,
            port=server.port,
            database="postgres",
            user=server.user,
            password=SecretStr(server.password),
            programs=client_programs(settings),
        )
    except EmbeddedError as error:
        raise UnavailableError(str(error), store="postgres", operation="start") from error
    finally:
        await addresses.close()


def _of_url(settings: Settings) -> PgConfig:
    url = settings.neo_admin_url.get_secret_value() if settings.neo_admin_url else ""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql") or not parts.hostname:
        raise ConfigError(
            "NEO_ADMIN_URL must name a user with REPLICATION at PostgreSQL, not at a pooler:"
            " postgresql://user:password@host/postgres"
        )
    mode = parse_qs(parts.query).get("sslmode", [settings.postgres_sslmode])
    return PgConfig(
        host=parts.hostname,
        port=parts.port or 5432,
        database=parts.path.strip("/") or "postgres",
        user=unquote(parts.username or "postgres"),
        password=SecretStr(unquote(parts.password or "")),
        ssl=mode[0],
        programs=client_programs(settings),
    )


async def recovered(
    settings: Settings, data: Path, *, access: Mapping[str, str], target: Mapping[str, str]
) -> str:
    """Bring a restored cluster to its recovery target and shut it down; what it logged."""
    options = EmbeddedOptions(pg_bin=settings.neo_embedded_pg_bin, user=settings.neo_embedded_user)
    stopping = threading.Event()

    def work() -> str:
        return recover(data, options=options, access=access, target=target, stopping=stopping)

    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stopping.set()
        await asyncio.wait([task])
        raise
    except EmbeddedError as error:
        raise BackupError(str(error), operation="restore") from error


def embedded_home(settings: Settings) -> Path:
    """The data directory of the embedded PostgreSQL; ConfigError in the server profile."""
    if settings.neo_profile != "embedded":
        raise ConfigError("the server profile has no PostgreSQL of its own: move it yourself")
    return Layout(settings.neo_data_dir).home("postgres")


def replace_embedded(
    settings: Settings, cluster: Path, *, claim: Callable[[], None] = lambda: None
) -> Path | None:
    """Put a cluster in the place of the embedded one; where that was moved to, if there was one.

    `claim` is called when nothing else stands in the way; what it raises leaves all as it was.
    ConflictError while anybody uses the embedded servers.
    """
    layout, home = Layout(settings.neo_data_dir), embedded_home(settings)
    layout.create()
    lock = try_lock(layout.keeper_lock)
    try:
        if lock is None or is_held(layout.server_lock("postgres")):
            raise ConflictError(f"the platform of {layout.root} runs: stop it first")
        if cluster.stat().st_dev != home.parent.stat().st_dev:
            raise ConflictError(f"{cluster} is on another file system than {home}: move it first")
        claim()
        return _swap(home, cluster)
    finally:
        if lock is not None:
            os.close(lock)


def _swap(home: Path, cluster: Path) -> Path | None:
    aside = None
    if home.exists():
        aside = home.with_name(f"postgres.before-{datetime.now(UTC):%Y%m%dT%H%M%S}")
        home.rename(aside)
    try:
        cluster.rename(home)
    except OSError as error:
        if aside is not None:
            aside.rename(home)
        raise BackupError(f"{cluster} cannot be moved to {home}: {error.strerror}") from error
    return aside
