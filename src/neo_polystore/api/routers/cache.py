"""The cache over HTTP: its key families, and emptying one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.errors import NotFoundError
from neo_polystore.polystore import Polystore
from neo_polystore.ports.cache import Flushing

router = APIRouter(prefix="/api/admin/cache", tags=["admin"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "No such family."},
    404: {"model": Problem, "description": "No store here keeps keys by family."},
    503: {"model": Problem},
}


class Flush(BaseModel):
    """Which keys to remove."""

    model_config = ConfigDict(extra="forbid")

    family: Annotated[str, Field(min_length=1, max_length=100)]
    dry_run: bool = False


@router.get("", summary="Key families", responses=_ANSWERS)
async def families(polystore: CurrentPolystore) -> Response:
    """How many keys each family has."""
    store = _store(polystore)
    keys = {name: await store.flush(name, dry_run=True) for name in store.families}
    return json_response({"families": keys})


@router.post("/flush", summary="Empty a family", responses=_ANSWERS)
async def flush(wanted: Flush, polystore: CurrentPolystore) -> Response:
    """Cached values come back by themselves; counts of rate limits begin anew."""
    keys = await _store(polystore).flush(wanted.family, dry_run=wanted.dry_run)
    return json_response({"family": wanted.family, "keys": keys, "dry_run": wanted.dry_run})


def _store(polystore: Polystore) -> Flushing:
    for store in polystore.stores.values():
        if isinstance(store, Flushing):
            return store
    raise NotFoundError("no store that is open keeps keys by family")
