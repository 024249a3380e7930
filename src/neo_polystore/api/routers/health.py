"""Health and readiness probes."""

from __future__ import annotations

from dataclasses import asdict
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Response

from neo_polystore.api.dependencies import CurrentPolystore
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.errors import NotFoundError
from neo_polystore.ops.health import check_health, check_store
from neo_polystore.ops.migrate import migrate_all
from neo_polystore.sealing.health import check_sealing

router = APIRouter(tags=["health"])

_OTHER_NAMES = {"postgresql": "postgres"}

_STORE_EXAMPLE = {
    "store": "postgres",
    "primary_for": ["transactions"],
    "status": "healthy",
    "version": "18.6",
    "detail": "",
    "milliseconds": 0.8,
    "facts": {},
}


def _examples(good: Any) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"example": good}}
    return {
        200: {"description": "Everything that is needed is up.", "content": content},
        503: {"description": "A primary store is down.", "content": content},
    }


@router.get(
    "/health",
    summary="Every routed store, probed now",
    responses=_examples({"status": "healthy", "stores": [_STORE_EXAMPLE]}),
)
async def health(polystore: CurrentPolystore) -> Response:
    """503 where a primary is down; a cache that is down only makes the platform `degraded`."""
    found = await check_health(polystore)
    return json_response(found.as_dict(), 503 if found.status == "unhealthy" else 200)


@router.get(
    "/health/sgx",
    summary="Sealing: its storage, key and mode, probed now",
    responses=_examples(
        {"status": "healthy", "mode": "simulation", "key_usable": True, "milliseconds": 1.2}
    ),
)
async def sealing_health(polystore: CurrentPolystore) -> Response:
    """503 where nothing can be sealed or opened. Says which mode it is: simulation, or hardware."""
    started = perf_counter()
    found = await check_sealing(polystore.sealing)
    took = round((perf_counter() - started) * 1000, 3)
    answer = {**asdict(found), "milliseconds": took}
    return json_response(answer, 503 if found.status == "unhealthy" else 200)


@router.get(
    "/health/{store}",
    summary="One store, probed now",
    responses={
        **_examples(_STORE_EXAMPLE),
        404: {"model": Problem, "description": "No such store."},
    },
)
async def store_health(store: str, polystore: CurrentPolystore) -> Response:
    """503 where this store is down; 404 for a name that is no routed store."""
    store = _OTHER_NAMES.get(store, store)
    if store not in polystore.stores:
        known = ", ".join(sorted(polystore.stores))
        raise NotFoundError(f"no store {store!r} is routed; there are {known}")
    found = await check_store(polystore, store)
    return json_response(found.as_dict(), 503 if found.health.status == "unhealthy" else 200)


@router.get(
    "/ready", summary="Whether requests can be served", responses=_examples({"ready": True})
)
async def ready(polystore: CurrentPolystore) -> Response:
    """200 when every primary is up and no schema change is pending, 503 otherwise."""
    found = await check_health(polystore)
    reasons = [
        f"{item.store}: {item.health.detail or item.health.status}"
        for item in found.stores
        if item.health.status == "unhealthy" and item.primary_for
    ]
    if not reasons:
        reports = await migrate_all(polystore, dry_run=True)
        reasons = [f"{r.store}: pending {', '.join(r.pending)}" for r in reports if r.pending]
    return json_response({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)
