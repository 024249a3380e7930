"""Rate limits for others: a program asks whether one of its own clients may go on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore, CurrentScope
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.ports.limits import LARGEST, LONGEST, Algorithm, Check, Limit

router = APIRouter(prefix="/api/limits", tags=["limits"])

Name = Annotated[str, Field(min_length=1, max_length=256)]
Units = Annotated[int, Field(ge=1, le=LARGEST)]

_EXAMPLE = {
    "allowed": True,
    "limit": 100,
    "remaining": 99,
    "reset_seconds": 60.0,
    "retry_after": 0.0,
    "at": 1_700_000_000.0,
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The decision; `allowed` says which.",
        "content": {"application/json": {"example": _EXAMPLE}},
    },
    400: {"model": Problem},
    503: {"model": Problem},
}


class Asked(BaseModel):
    """So many units of a limit, for a client of the caller's own."""

    model_config = ConfigDict(extra="forbid")

    client: Name
    endpoint: Name
    limit: Units
    window_seconds: Annotated[int, Field(ge=1, le=LONGEST)] = 60
    cost: Units = 1
    algorithm: Algorithm = "fixed_window"
    burst: Units | None = None
    dry_run: bool = Field(False, description="only tell what would be answered")


@router.post("/check", summary="Admit or refuse", responses=_ANSWERS)
async def check(asked: Asked, polystore: CurrentPolystore, scope: CurrentScope) -> Response:
    """Take `cost` units of the limit, or none where there are too few left.

    Clients are the tenant's and the service's own: another's of the same name are counted apart.
    """
    whose = f"{scope.tenant or 'none'}/{scope.service or ''}/{asked.client}"
    limit = Limit(asked.limit, asked.window_seconds, asked.algorithm, asked.burst)
    wanted = Check(asked.endpoint, limit, asked.cost)
    if asked.dry_run:
        decision = await polystore.limits.peek(whose, wanted)
    else:
        [decision] = await polystore.limits.check_all(whose, [wanted])
    return json_response(decision._asdict())
