"""Databases for both modes of the metrics engine: with and without TimescaleDB."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import asyncpg
import pytest

from neo_polystore.embedded import Membership
from neo_polystore.pgkit.bootstrap import prepare_database
from neo_polystore.stores.timescale.config import TimescaleConfig
from neo_polystore.stores.timescale.store import TimescaleStore

MODES = ("plain", "timescale")
URL = "NEO_TEST_TIMESCALE_URL"


async def make_metrics_database(embedded: Membership, mode: str, **rules: str) -> TimescaleConfig:
    """An empty database in one of the modes; skips where no server offers it.

    It keeps everything, because the points of the tests are old and TimescaleDB's own job would
    drop them; `rules` are other fields of `TimescaleConfig`.

    NEO_TEST_TIMESCALE_URL names an administrator's login on a server with TimescaleDB, such as
    postgresql://postgres:secret@127.0.0.1:5432/postgres.
    """
    if mode == "timescale" and URL in os.environ:
        url = urlsplit(os.environ[URL])
        host, port = url.hostname or "127.0.0.1", url.port or 5432
        admin, password = unquote(url.username or "postgres"), unquote(url.password or "")
    else:
        server = await embedded.ensure("postgres")
        host, port, admin, password = server.host, server.port, server.user, server.password
    config = await prepare_database(
        host=host,
        port=port,
        admin=admin,
        admin_password=password,
        database=f"timeseries_{uuid4().hex[:8]}",
    )
    arguments = config.connect_arguments() | {"user": admin, "password": password}
    connection = await asyncpg.connect(**arguments)
    try:
        if mode == "plain":
            await connection.execute("DROP EXTENSION IF EXISTS timescaledb")
        elif not await connection.fetchval(
            "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"
        ):
            pytest.skip(f"this PostgreSQL has no TimescaleDB, and {URL} is not set")
    finally:
        await connection.close()
    return TimescaleConfig.model_validate({**dict(config), "keep_raw": "indefinite", **rules})


@asynccontextmanager
async def opened(config: TimescaleConfig) -> AsyncIterator[TimescaleStore]:
    """The store over this database, migrated and connected."""
    store = TimescaleStore(config)
    await store.migrate()
    await store.connect()
    try:
        yield store
    finally:
        await store.close()
