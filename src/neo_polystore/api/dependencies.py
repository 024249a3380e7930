"""What every handler may ask for: the facade, and on whose behalf the request acts.

The dependencies are coroutines, because FastAPI runs plain functions in a thread each.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from neo_polystore.auth.principal import Principal
from neo_polystore.polystore import Polystore
from neo_polystore.records.scope import Scope


async def _polystore(request: Request) -> Polystore:
    polystore: Polystore = request.app.state.polystore
    return polystore


async def _principal(request: Request) -> Principal:
    return principal_of(request)


def principal_of(request: Request) -> Principal:
    """Who the request comes from: who proved it, or else whoever this installation belongs to."""
    found: Principal | None = request.scope["state"].get("principal")
    return found if found is not None else Principal(request.app.state.scope)


async def _scope(request: Request) -> Scope:
    return principal_of(request).scope


CurrentPolystore = Annotated[Polystore, Depends(_polystore)]
CurrentPrincipal = Annotated[Principal, Depends(_principal)]
CurrentScope = Annotated[Scope, Depends(_scope)]
