"""Fixtures that every suite shares: one embedded platform per run, databases of one's own in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.pgkit.bootstrap import prepare_database
from neo_polystore.pgkit.database import PgConfig

MakeDatabase = Callable[[str], Awaitable[PgConfig]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded() -> AsyncIterator[Membership]:
    """Membership in the embedded servers of this test run's own data directory."""
    directory = Path(tempfile.mkdtemp(prefix="neo-polystore-tests-"))
    membership = await Membership.join(directory)
    yield membership
    await membership.leave()
    shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def make_database(embedded: Membership) -> MakeDatabase:
    """Makes an empty database with its roles: `config = await make_database("primary")`."""
    server = await embedded.ensure("postgres")

    async def make(prefix: str) -> PgConfig:
        return await prepare_database(
            host=server.host,
            port=server.port,
            admin=server.user,
            admin_password=server.password,
            database=f"{prefix}_{uuid4().hex[:8]}",
        )

    return make


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of sample files that the tests read."""
    return Path(__file__).parent / "data"
