"""The outbox over HTTP: how it stands, dead letters, and what is done with them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.errors import UsageError
from neo_polystore.ops.background import operational
from neo_polystore.ops.dead_letters import MOST, open_letters
from neo_polystore.ports.outbox import DeadLetter

router = APIRouter(prefix="/api/admin/outbox", tags=["admin"])

_PROBLEMS: dict[int | str, dict[str, Any]] = {400: {"model": Problem}, 503: {"model": Problem}}
_CHANGING = {**_PROBLEMS, 404: {"model": Problem, "description": "Not there, or settled already."}}

Id = Annotated[int, Field(ge=1, lt=2**63)]


class Letters(BaseModel):
    """Which dead letters to show."""

    model_config = ConfigDict(extra="forbid")

    topic: str | None = Field(None, max_length=100)
    settled: bool = Field(False, description="those that were replayed or discarded, too")
    limit: int = Field(100, ge=1, le=1_000)
    after: int = Field(0, ge=0, lt=2**63, description="`next` of the page before")


class Replay(BaseModel):
    """Dead letters by id, or all that are open."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Id], Field(min_length=1, max_length=MOST)] | None = None
    all: bool = False
    dry_run: bool = False


class Discard(BaseModel):
    """Dead letters by id, and why nobody needs them."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Id], Field(min_length=1, max_length=MOST)]
    reason: str = Field(min_length=1, max_length=10_000)
    dry_run: bool = False


@router.get("", summary="Every topic", responses=_PROBLEMS)
async def status(polystore: CurrentPolystore) -> Response:
    """What waits per topic and for how long, what was delivered, what is dead."""
    return json_response(asdict(await operational(polystore).outbox_admin.status()))


@router.get("/dead-letters", summary="Dead letters", responses=_PROBLEMS)
async def dead_letters(
    wanted: Annotated[Letters, Query()], polystore: CurrentPolystore
) -> Response:
    """Messages that were given up, oldest first, with the reason; `next` continues the page."""
    admin = operational(polystore).outbox_admin
    found = await admin.dead_letters(
        topic=wanted.topic, settled=wanted.settled, after=wanted.after, limit=wanted.limit + 1
    )
    page = found[: wanted.limit]
    following = page[-1].id if len(found) > wanted.limit else None
    return json_response({"dead_letters": _plain(page), "next": following})


@router.post("/replay", summary="Replay dead letters", responses=_CHANGING)
async def replay(wanted: Replay, polystore: CurrentPolystore) -> Response:
    """Publish them again, behind all that was published under their keys since.

    With `dry_run` they are shown and nothing is published.
    """
    if (wanted.ids is not None) == wanted.all:
        raise UsageError("name dead letters in `ids`, or say `all`")
    admin = operational(polystore).outbox_admin
    letters = await open_letters(admin, wanted.ids)
    if wanted.dry_run:
        return json_response({"replayed": 0, "dead_letters": _plain(letters)})
    return json_response({"replayed": await admin.replay(wanted.ids)})


@router.post("/discard", summary="Discard dead letters", responses=_CHANGING)
async def discard(wanted: Discard, polystore: CurrentPolystore) -> Response:
    """Give them up for good; they stay on record, with the reason, until they are pruned."""
    admin = operational(polystore).outbox_admin
    letters = await open_letters(admin, wanted.ids)
    if wanted.dry_run:
        return json_response({"discarded": 0, "dead_letters": _plain(letters)})
    return json_response({"discarded": await admin.discard(wanted.ids, reason=wanted.reason)})


def _plain(letters: list[DeadLetter]) -> list[dict[str, Any]]:
    return [asdict(letter) for letter in letters]
