"""Administration over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response

from neo_polystore.api.dependencies import CurrentPolystore
from neo_polystore.api.responses import json_response

router = APIRouter(prefix="/api/admin", tags=["admin"])

_EXAMPLE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The routes of the profile that is in force.",
        "content": {
            "application/json": {
                "example": {
                    "profile": "embedded",
                    "routes": [
                        {
                            "data_type": "transactions",
                            "primary": "postgres",
                            "cache": "redis",
                            "backup": "files",
                            "retention": "7 years",
                        }
                    ],
                }
            }
        },
    }
}


@router.get("/routing", summary="The distribution table", responses=_EXAMPLE)
async def routing(polystore: CurrentPolystore) -> Response:
    """Which store holds which data type, with cache, backup and retention."""
    table = polystore.routing
    return json_response({"profile": table.profile, "routes": [asdict(route) for route in table]})
