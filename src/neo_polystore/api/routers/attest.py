"""Attestation over HTTP: verify a quote, show what was kept, judge it again."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore, CurrentPrincipal
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.attestation.policy import Policy
from neo_polystore.records.base import Blob
from neo_polystore.sealing.attesting import Attesting, summary

router = APIRouter(prefix="/api/attest", tags=["attestation"])

_PROBLEMS: dict[int | str, dict[str, Any]] = {404: {"model": Problem}, 422: {"model": Problem}}


class Evidence(BaseModel):
    """A quote, and what to judge it by."""

    model_config = ConfigDict(extra="forbid")

    quote: Blob = Field(description="base64")
    collateral: dict[str, Any] | str | None = Field(
        None, description="as Intel's PCS answers, or its text; none: fetched from NEO_PCCS_URL"
    )
    at: AwareDatetime | None = Field(None, description="none: now")
    policy: Policy = Field(default_factory=Policy)
    enclave: str = Field("", max_length=255)


async def _attesting(polystore: CurrentPolystore, caller: CurrentPrincipal) -> Attesting:
    return polystore.sealing.attesting(actor=caller.scope.user or caller.scope.service)


Current = Annotated[Attesting, Depends(_attesting)]


@router.post("/verify", summary="Judge a quote", responses=_PROBLEMS)
async def verify(evidence: Evidence, attesting: Current) -> Response:
    """A rejected quote is an answer, too; all that the verdict was made of is kept."""
    text = evidence.collateral
    kept, verdict = await attesting.verify(
        evidence.quote,
        orjson.dumps(text) if isinstance(text, dict) else text,
        at=evidence.at,
        policy=evidence.policy,
        enclave=evidence.enclave,
    )
    return json_response({"id": kept, **verdict.as_dict()})


@router.get("", summary="Kept verdicts", responses=_PROBLEMS)
async def list_kept(
    attesting: Current, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The newest first, without quotes and collateral."""
    found = [summary(kept) for kept in await attesting.list(limit=limit)]
    return json_response({"attestations": found})


@router.get("/{attestation}", summary="A kept verdict", responses=_PROBLEMS)
async def show(attestation: UUID, attesting: Current) -> Response:
    """With the policy that it was made by."""
    kept = await attesting.get(attestation)
    return json_response({"id": kept.id, "policy": kept.policy, **kept.verdict})


@router.get("/{attestation}/recheck", summary="Judge kept evidence again", responses=_PROBLEMS)
async def recheck(attestation: UUID, attesting: Current) -> Response:
    """As of then, which must give the kept verdict again, and as of now."""
    found = await attesting.recheck(attestation)
    return json_response(found.as_dict())
