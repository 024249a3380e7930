"""What every handler may ask for: the facade, and on whose behalf the request acts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from neo_polystore.polystore import Polystore
from neo_polystore.records.scope import Scope


def _polystore(request: Request) -> Polystore:
    polystore: Polystore = request.app.state.polystore
    return polystore


def _scope(request: Request) -> Scope:
    scope: Scope = request.app.state.scope
    return scope


CurrentPolystore = Annotated[Polystore, Depends(_polystore)]
CurrentScope = Annotated[Scope, Depends(_scope)]
