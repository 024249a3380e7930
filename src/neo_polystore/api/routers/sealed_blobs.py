"""Blobs over HTTP that the enclaves of the calling service sealed themselves."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from neo_polystore.api.dependencies import CurrentPolystore, CurrentPrincipal
from neo_polystore.api.responses import Problem, keyed_page
from neo_polystore.api.routers.sealed import only_itself
from neo_polystore.api.routers.store import WRITE_ANSWERS, answer_write
from neo_polystore.ports.sealed import ServiceBlobs
from neo_polystore.records.sealed import ServiceBlob

router = APIRouter(prefix="/api/sealed/blobs", tags=["sealed"])

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "Another service's."},
    404: {"model": Problem},
    409: {"model": Problem, "description": "It was sealed here."},
}

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": ServiceBlob.model_json_schema()}
            },
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }
}


def _blobs(
    polystore: CurrentPolystore,
    caller: CurrentPrincipal,
    service: Annotated[str, Query(description="the owner, which calls")],
) -> ServiceBlobs:
    only_itself(caller, service)
    return polystore.sealing.blobs_of_service(service, actor=caller.scope.user)


Own = Annotated[ServiceBlobs, Depends(_blobs)]
Key = Annotated[str, Path(description="The blob's data key.")]


@router.post(
    "",
    summary="Keep blobs",
    openapi_extra=_BODY,
    responses={**WRITE_ANSWERS, 403: _PROBLEMS[403]},
)
async def write(request: Request, own: Own) -> Response:
    """Store a JSON array, one object or an NDJSON stream, byte for byte; as `/api/store` does."""
    return await answer_write(own, request)


@router.get("", summary="List blobs", responses={403: _PROBLEMS[403]})
async def list_blobs(
    own: Own,
    prefix: str = "",
    after: Annotated[str, Query(description="from behind this key")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """In the order of their keys, without their bytes."""
    found = await own.facts(prefix=prefix, after=after, limit=limit)
    return keyed_page("blobs", [asdict(one) for one in found], limit)


@router.get("/{data_key:path}", summary="Read a blob", responses=_PROBLEMS)
async def read(data_key: Key, own: Own) -> Response:
    """The record, with the bytes in base64."""
    blob = await own.get(data_key)
    text = blob.model_dump_json(exclude_none=True)
    headers = {"Cache-Control": "no-store"}
    return Response(text, media_type="application/json", headers=headers)


@router.delete("/{data_key:path}", status_code=204, summary="Delete a blob", responses=_PROBLEMS)
async def delete(data_key: Key, own: Own) -> Response:
    """It is gone for good."""
    await own.delete(data_key)
    return Response(status_code=204)
