"""The scheduler over HTTP: jobs, their history, and running one now."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.errors import NotFoundError
from neo_polystore.ops.background import jobs_of, operational, process_name
from neo_polystore.ops.history import history
from neo_polystore.ops.scheduler import Scheduler
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings

router = APIRouter(prefix="/api/admin/scheduler", tags=["admin"])

_PROBLEMS: dict[int | str, dict[str, Any]] = {503: {"model": Problem}}
_MISSING = {**_PROBLEMS, 404: {"model": Problem, "description": "No such job."}}


class Runs(BaseModel):
    """Which runs to show."""

    model_config = ConfigDict(extra="forbid")

    job: str | None = Field(None, max_length=100)
    limit: int = Field(100, ge=1, le=1_000)
    before: int | None = Field(None, ge=1, lt=2**63, description="`next` of the page before")


@router.get("", summary="Every job", responses=_PROBLEMS)
async def jobs(polystore: CurrentPolystore, request: Request) -> Response:
    """Its rule, when it is due, how its last run ended."""
    await _scheduler(polystore, request.app.state.settings).register()
    found = await operational(polystore).ledger.status()
    return json_response({"jobs": [asdict(job) for job in found]})


@router.get("/runs", summary="Runs", responses=_MISSING)
async def runs(wanted: Annotated[Runs, Query()], polystore: CurrentPolystore) -> Response:
    """What is on record, the newest first; `next` continues the page."""
    found, following = await history(
        operational(polystore).ledger, wanted.job, before=wanted.before, limit=wanted.limit
    )
    return json_response({"runs": [asdict(run) for run in found], "next": following})


@router.post(
    "/jobs/{job}/run",
    summary="Run a job now",
    responses={**_MISSING, 409: {"model": Problem, "description": "It is running already."}},
)
async def run(job: str, polystore: CurrentPolystore, request: Request) -> Response:
    """Answers when it has ended; `outcome` says how. When it is due next stays as it is."""
    scheduler = _scheduler(polystore, request.app.state.settings)
    if job not in scheduler.jobs:
        raise NotFoundError(f"no job {job!r}; there are {', '.join(sorted(scheduler.jobs))}")
    return json_response(asdict(await scheduler.run_now(job)))


@router.post(
    "/jobs/{job}/trigger", status_code=202, summary="Make a job due now", responses=_MISSING
)
async def trigger(job: str, polystore: CurrentPolystore, request: Request) -> Response:
    """Answers at once; a process that runs jobs begins it within a second or two."""
    scheduler = _scheduler(polystore, request.app.state.settings)
    if job not in scheduler.jobs:
        raise NotFoundError(f"no job {job!r}; there are {', '.join(sorted(scheduler.jobs))}")
    await scheduler.register()
    await scheduler.trigger(job)
    return json_response({"job": job, "triggered": True}, status=202)


def _scheduler(polystore: Polystore, settings: Settings) -> Scheduler:
    """Of its own, in the same books as the one that serves."""
    store = operational(polystore)
    return Scheduler(store.ledger, jobs_of(polystore, store, settings), holder=process_name())
