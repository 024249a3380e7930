"""Attestation over HTTP: verify a quote, show what was kept, judge it again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.attestation.policy import Policy
from neo_polystore.records.base import Blob

router = APIRouter(prefix="/api/attest", tags=["attestation"])

_PROBLEMS: dict[int | str, dict[str, Any]] = {404: {"model": Problem}, 422: {"model": Problem}}


class Evidence(BaseModel):
    """A quote, and what to judge it by."""

    model_config = ConfigDict(extra="forbid")

    quote: Blob = Field(description="base64")
    collateral: dict[str, Any] | str = Field(description="as Intel's PCS answers, or its text")
    at: AwareDatetime | None = Field(None, description="none: now")
    policy: Policy = Field(default_factory=Policy)
    enclave: str = Field("", max_length=255)


@router.post("/verify", summary="Judge a quote", responses=_PROBLEMS)
async def verify(evidence: Evidence, polystore: CurrentPolystore) -> Response:
    """Offline. A rejected quote is an answer, too; all that the verdict was made of is kept."""
    text = evidence.collateral
    kept, verdict = await polystore.sealing.evidence.verify(
        evidence.quote,
        text if isinstance(text, str) else orjson.dumps(text),
        at=evidence.at,
        policy=evidence.policy,
        enclave=evidence.enclave,
    )
    return json_response({"id": kept, **verdict.as_dict()})


@router.get("/{attestation}", summary="A kept verdict", responses=_PROBLEMS)
async def show(attestation: UUID, polystore: CurrentPolystore) -> Response:
    """With the policy that it was made by."""
    kept = await polystore.sealing.evidence.store.get(attestation)
    return json_response({"id": kept.id, "policy": kept.policy, **kept.verdict})


@router.get("/{attestation}/recheck", summary="Judge kept evidence again", responses=_PROBLEMS)
async def recheck(attestation: UUID, polystore: CurrentPolystore) -> Response:
    """As of then, which must give the kept verdict again, and as of now."""
    found = await polystore.sealing.evidence.recheck(attestation)
    return json_response(found.as_dict())
