"""Backups over HTTP: run, list, show, prove, and restore into stores that are empty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.backup import runs
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.restore import execute
from neo_polystore.backup.restore import plan as plan_steps
from neo_polystore.backup.run import Options, run_backup
from neo_polystore.backup.session import opened_run, opened_target, proving
from neo_polystore.backup.summary import listed, summary
from neo_polystore.backup.targets import Target
from neo_polystore.backup.verify import verify as verify_run
from neo_polystore.errors import ConflictError, NotFoundError
from neo_polystore.settings import Settings

router = APIRouter(prefix="/api/admin/backups", tags=["admin"])

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem},
    409: {"model": Problem, "description": "No target is set, or a store is not empty."},
    503: {"model": Problem},
}
_OF_A_RUN = {**_PROBLEMS, 404: {"model": Problem, "description": "No such complete run."}}

RunId = Annotated[str, Path(max_length=100, examples=["20260101T020000-0a1b2c3d"])]
Stores = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=100)]],
    Field(min_length=1, max_length=100),
]


class Chosen(BaseModel):
    """Which stores; all of the run, or of the routing table, without any."""

    model_config = ConfigDict(extra="forbid")

    stores: Stores | None = None
    dry_run: bool = False


@router.get("", summary="The runs", responses=_PROBLEMS)
async def list_(request: Request) -> Response:
    """The newest first: how old and large each is, whether it is complete and proven."""
    async with _target(request) as (target, key):
        await asyncio.to_thread(target.check, writing=False)
        found = await asyncio.to_thread(lambda: runs.list_runs(target, key=key))
    return json_response({"runs": [listed(each) for each in found]})


@router.post("", summary="Back up now", responses=_PROBLEMS)
async def run(wanted: Chosen, polystore: CurrentPolystore, request: Request) -> Response:
    """Every store in one consistent set; answers when the run is complete."""
    if wanted.dry_run:
        stores = wanted.stores or sorted(polystore.stores)
        return json_response({"run": None, "stores": [{"name": name} for name in stores]})
    async with _target(request) as (target, key):
        manifest = await run_backup(
            polystore.stores,
            polystore.routing,
            target,
            key=key,
            options=Options(stores=wanted.stores),
        )
    return json_response(summary(manifest))


@router.get("/{run}", summary="One run", responses=_OF_A_RUN)
async def show(run: RunId, request: Request) -> Response:
    """What it holds, store by store."""
    async with _opened(request, run) as (_, reader):
        return json_response(summary(reader.manifest))


@router.post("/{run}/verify", summary="Prove a run", responses=_OF_A_RUN)
async def verify(run: RunId, wanted: Chosen, request: Request) -> Response:
    """Restore it into servers made for it, read everything again, compare, store the proof."""
    async with _opened(request, run) as (target, reader):
        if wanted.dry_run:
            return json_response({"run": run, "ok": None})
        async with proving(request.app.state.settings, reader.manifest) as at:
            proof = await verify_run(
                reader, target, at.scratch, referenced=at.referenced, only=wanted.stores
            )
    return json_response({"run": run, **proof.as_dict()})


@router.post("/{run}/restore", summary="Restore what is empty", responses=_OF_A_RUN)
async def restore(
    run: RunId, wanted: Chosen, polystore: CurrentPolystore, request: Request
) -> Response:
    """Bring stores of a run back. 409 for a store that is not empty: to replace what there is,
    stop the platform and use `neo-polystore restore run --force`. `dry_run` shows the plan."""
    async with _opened(request, run) as (_, reader):
        steps = await plan_steps(reader, polystore.stores, only=wanted.stores)
        done = [] if wanted.dry_run else await execute(reader, polystore.stores, steps)
    return json_response(
        {"plan": [asdict(step) for step in steps], "restored": [asdict(each) for each in done]}
    )


@asynccontextmanager
async def _target(request: Request) -> AsyncIterator[tuple[Target, BackupKey | None]]:
    """The target of the settings: requests name no other, it may be any place of this machine."""
    settings: Settings = request.app.state.settings
    if settings.neo_backup_target is None:
        raise ConflictError("no target is set: NEO_BACKUP_TARGET")
    async with opened_target(settings) as opened:
        yield opened


@asynccontextmanager
async def _opened(request: Request, run: str) -> AsyncIterator[tuple[Target, RunReader]]:
    async with _target(request) as (target, key):
        await asyncio.to_thread(target.check, writing=False)
        found = await asyncio.to_thread(lambda: runs.list_runs(target, key=key))
        if not any(each.id == run and each.complete for each in found):
            raise NotFoundError(f"no complete run {run!r}")
        async with opened_run(target, key, run) as reader:
            yield target, reader
