"""Retention and legal holds over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore, CurrentPrincipal
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.ops.background import holding_of, operational, retention_of
from neo_polystore.ports.holds import HoldDraft

router = APIRouter(prefix="/api/admin", tags=["admin"])

_PROBLEMS: dict[int | str, dict[str, Any]] = {400: {"model": Problem}, 503: {"model": Problem}}
_CHANGING = {**_PROBLEMS, 404: {"model": Problem, "description": "Not there, or released already."}}

Id = Annotated[int, Path(ge=1, lt=2**63)]
DataType = Annotated[str, Field(min_length=1, max_length=100)]
Reason = Annotated[str, Field(min_length=1, max_length=10_000)]


class Apply(BaseModel):
    """Which data types; all without any."""

    model_config = ConfigDict(extra="forbid")

    data_types: Annotated[list[DataType], Field(min_length=1, max_length=100)] | None = None
    dry_run: bool = False


class Add(BaseModel):
    """What to hold, and why. A tenant alone holds all data types whose records name theirs."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason
    data_types: list[DataType] = Field([], max_length=100)
    tenant: UUID | None = None
    key: str | None = Field(None, min_length=1, max_length=1_100)
    where: list[Annotated[str, Field(max_length=10_000)]] = Field([], max_length=100)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    text: str | None = Field(None, min_length=1, max_length=10_000)


class Release(BaseModel):
    """Why a hold is released."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


@router.get("/retention", summary="What would go now", responses=_PROBLEMS)
async def plan(
    polystore: CurrentPolystore, data_type: Annotated[list[DataType] | None, Query()] = None
) -> Response:
    """Per data type: what is past its time, what of it is held; counts, and changes nothing."""
    lines = await retention_of(polystore).plan(data_type)
    return json_response({"plan": [asdict(line) for line in lines]})


@router.get("/retention/policy", summary="What is kept how long", responses=_PROBLEMS)
async def policy(polystore: CurrentPolystore) -> Response:
    """Every rule in force and where it is said."""
    rules = [
        {**asdict(rule), "age": None if rule.age is None else str(rule.age)}
        for rule in polystore.retention.rules.values()
    ]
    return json_response({"rules": rules, "cron": polystore.retention.cron})


@router.get("/retention/archives", summary="What was archived", responses=_PROBLEMS)
async def archives(polystore: CurrentPolystore, data_type: DataType | None = None) -> Response:
    """The manifest of every archive file."""
    if data_type is not None:
        polystore.port(data_type)
    parts = await retention_of(polystore).archive.parts(data_type)
    return json_response({"archives": [asdict(part) for part in parts]})


@router.post("/retention/apply", summary="Delete what is past its time", responses=_PROBLEMS)
async def apply(
    wanted: Apply, polystore: CurrentPolystore, principal: CurrentPrincipal
) -> Response:
    """Archived first where the rule says so; with `dry_run` the plan, and nothing is deleted."""
    retention = retention_of(polystore)
    if wanted.dry_run:
        lines = await retention.plan(wanted.data_types)
        return json_response({"plan": [asdict(line) for line in lines]})
    applied = await retention.apply(wanted.data_types, by=principal.scope.user or "api")
    return json_response(asdict(applied))


@router.get("/holds", summary="Legal holds", responses=_PROBLEMS)
async def holds(polystore: CurrentPolystore, released: bool = False) -> Response:
    """The newest first; released ones only when asked for."""
    found = await operational(polystore).holds.find(released=released)
    return json_response({"holds": [asdict(hold) for hold in found]})


@router.post("/holds", summary="Place a hold", status_code=201, responses=_PROBLEMS)
async def add(wanted: Add, polystore: CurrentPolystore, principal: CurrentPrincipal) -> Response:
    """Nothing that it covers is deleted from the moment of the answer."""
    draft = HoldDraft(
        tuple(wanted.data_types),
        wanted.reason,
        principal.scope.user or "api",
        wanted.tenant,
        wanted.key,
        tuple(wanted.where),
        wanted.since,
        wanted.until,
        wanted.text,
    )
    return json_response(asdict(await holding_of(polystore).add(draft)), 201)


@router.post("/holds/{hold}/release", summary="Release a hold", responses=_CHANGING)
async def release(
    hold: Id, wanted: Release, polystore: CurrentPolystore, principal: CurrentPrincipal
) -> Response:
    """It stays on record with the reason."""
    found = await holding_of(polystore).release(
        hold, by=principal.scope.user or "api", reason=wanted.reason
    )
    return json_response(asdict(found))
