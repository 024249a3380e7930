"""A client of the REST API, in process, over the shared facade."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio

from neo_polystore.api.app import create_app
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings


@asynccontextmanager
async def shared(polystore: Polystore) -> AsyncIterator[Polystore]:
    """An open facade for an application that leaves it open."""
    yield polystore


@asynccontextmanager
async def client_of(settings: Settings, polystore: Polystore) -> AsyncIterator[httpx.AsyncClient]:
    """The API over an open facade; the facade stays open."""
    app = create_app(settings, opened=shared(polystore))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def api(settings: Settings, polystore: Polystore) -> AsyncIterator[httpx.AsyncClient]:
    """The API client that the tests share."""
    async with client_of(settings, polystore) as client:
        yield client


@pytest.fixture
def chain_id() -> int:
    """A chain id that no other test uses."""
    from uuid import uuid4

    return uuid4().int >> 70
