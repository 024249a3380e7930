"""The page that Prometheus scrapes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from neo_polystore.ops.telemetry.exposition import Telemetry

router = APIRouter(tags=["health"])

_EXAMPLE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus text, or OpenMetrics where `Accept` asks for it.",
        "content": {
            "text/plain": {"example": 'neo_store_up{store="postgres"} 1.0\n'},
            "application/openmetrics-text": {"example": 'neo_store_up{store="postgres"} 1.0\n'},
        },
    }
}


@router.get(
    "/metrics", summary="Metrics for Prometheus", response_class=Response, responses=_EXAMPLE
)
async def metrics(request: Request) -> Response:
    """What this process did, and how stores, outbox and scheduler stand. 200 whatever is down."""
    telemetry: Telemetry = request.app.state.telemetry
    page, content_type = await telemetry.page(request.headers.get("accept", ""))
    return Response(page, headers={"content-type": content_type})
