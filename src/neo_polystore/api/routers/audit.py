"""The audit trail over HTTP: record, search, export, verify; always one tenant's."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore, CurrentPrincipal, CurrentScope
from neo_polystore.api.downloads import attachment
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.audit.export import MEDIA_TYPES, Format, export
from neo_polystore.audit.search import AuditSearch
from neo_polystore.audit.trail import Action, Origin
from neo_polystore.errors import ForbiddenError

router = APIRouter(prefix="/api/audit", tags=["audit"])

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem},
    403: {"model": Problem},
    503: {"model": Problem},
}


class NewEntry(BaseModel):
    """What somebody did; `before` and `after` become `changes`, field by field."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    resource: str = Field(min_length=1, max_length=1000, examples=["wallet"])
    resource_id: str | None = Field(None, max_length=1000)
    actor: str | None = Field(None, max_length=255)
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    error: str | None = Field(None, max_length=10_000, description="why it failed, if it did")
    request_id: str | None = Field(None, max_length=128)
    details: dict[str, Any] = Field({}, description="further fields of the entry")


class Export(AuditSearch):
    """A search, and how its entries are written."""

    format: Format = "ndjson"


Search = Annotated[AuditSearch, Query()]


@router.post("", status_code=201, summary="Record an entry", responses=_PROBLEMS)
async def record(
    entry: NewEntry, polystore: CurrentPolystore, principal: CurrentPrincipal
) -> Response:
    """Durable when it answers: `committed` in the collection, or `queued` on its way there.

    With a token the actor is the one whom it proves.
    """
    if principal.is_proven and entry.actor not in (None, principal.scope.user):
        raise ForbiddenError("actor: a token records in its own name only")
    done = await polystore.audit.within(principal.scope).record(
        **entry.model_dump(exclude={"details", "request_id"}),
        origin=Origin(request_id=entry.request_id),
        details=entry.details,
    )
    return json_response(asdict(done), 201)


@router.get("", summary="Search", responses=_PROBLEMS)
async def search(found: Search, polystore: CurrentPolystore, scope: CurrentScope) -> Response:
    """One page, newest first; `next` continues it."""
    page = await polystore.audit.within(scope).find(found.query())
    return json_response({"entries": [e.body() for e in page.records], "next": page.next})


@router.get(
    "/export",
    summary="Export",
    response_class=StreamingResponse,
    responses={
        200: {"content": {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()}},
        **_PROBLEMS,
    },
)
async def export_all(
    found: Annotated[Export, Query()], polystore: CurrentPolystore, scope: CurrentScope
) -> Response:
    """All entries that the search finds, as a stream; `limit` and `after` do not apply."""
    trail = polystore.audit.within(scope)
    await trail.find(found.query(limit=1))  # an error is an answer, not a broken stream
    return StreamingResponse(
        export(trail.each(found.query()), format=found.format),
        media_type=MEDIA_TYPES[found.format],
        headers=attachment(f"audit.{found.format}"),
    )


@router.get("/verify", summary="Verify the chains", responses=_PROBLEMS)
async def verify(
    polystore: CurrentPolystore,
    scope: CurrentScope,
    first: Annotated[date | None, Query(description="from this day (UTC)")] = None,
    last: Annotated[date | None, Query(description="to this day, included")] = None,
) -> Response:
    """Each day's verdict: entries that were changed or removed, links that do not fit."""
    trail = polystore.audit.within(scope)
    days = [verdict async for verdict in trail.verify(first=first, last=last)]
    return json_response(
        {"sound": all(day.is_sound for day in days), "days": [asdict(day) for day in days]}
    )


@router.get("/{entry}", summary="One entry", responses={**_PROBLEMS, 404: {"model": Problem}})
async def one(entry: str, polystore: CurrentPolystore, scope: CurrentScope) -> Response:
    """By its `_id`."""
    found = await polystore.audit.within(scope).get(entry)
    return json_response(found.body())
