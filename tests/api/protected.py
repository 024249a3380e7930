"""The API as a server has it: every request needs a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from pydantic import SecretStr

from neo_polystore.api.app import create_app
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings
from tests.api.conftest import shared
from tests.auth.signing import SECRET, hs256


def protected(settings: Settings, **changes: Any) -> Settings:
    """Settings that ask for tokens, and take those of `tests.auth.signing`."""
    secured = {"neo_auth": "required", "jwt_secret_key": SecretStr(SECRET), **changes}
    return settings.model_copy(update=secured)


@asynccontextmanager
async def protected_api(
    settings: Settings, polystore: Polystore, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of such an application over an open facade; `client.app` is the application."""
    app = create_app(protected(settings, **changes), opened=shared(polystore))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client,
    ):
        client.app = app  # type: ignore[attr-defined]
        yield client


def bearer(*roles: str, **changes: Any) -> dict[str, str]:
    """The header of somebody with these roles, in the platform's own tenant if not another."""
    changes = {"tenant": str(SYSTEM_TENANT), **changes}
    return {"Authorization": f"Bearer {hs256(roles=list(roles), **changes)}"}
