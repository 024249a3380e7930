"""Schemas and samples over HTTP: what `neo-polystore db migrate|status|seed` do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore, CurrentScope
from neo_polystore.api.responses import Problem, json_response
from neo_polystore.errors import ForbiddenError
from neo_polystore.ops.migrate import migrate_all
from neo_polystore.ops.seed import seed as write_samples
from neo_polystore.ports.store import MigrationReport

router = APIRouter(prefix="/api/admin", tags=["admin"])

_REPORT = asdict(MigrationReport("postgres", "0028", "0028"))
_PROBLEMS: dict[int | str, dict[str, Any]] = {400: {"model": Problem}, 503: {"model": Problem}}


class Migrate(BaseModel):
    """Which store; all without one."""

    model_config = ConfigDict(extra="forbid")

    store: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    dry_run: bool = False


class Seed(BaseModel):
    """Whether to write."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


def _example(content: Any) -> dict[int | str, dict[str, Any]]:
    answer = {"description": "One report per store.", "content": content}
    return {**_PROBLEMS, 200: answer}


_STATUS = _example(
    {"application/json": {"example": {"up_to_date": True, "stores": [_REPORT]}}},
)


@router.get("/migration-status", summary="Applied and pending revisions", responses=_STATUS)
async def migration_status(polystore: CurrentPolystore) -> Response:
    """Store by store: what is applied, what is pending, which applied files were edited since."""
    return _answer(await migrate_all(polystore, dry_run=True))


@router.post("/migrate", summary="Bring schemas up to date", responses=_STATUS)
async def migrate(wanted: Migrate, polystore: CurrentPolystore) -> Response:
    """Safe to call at any time and from several processes at once; a second time changes nothing.

    With `dry_run` it only reports. The owner's password must be set, as for `db migrate`.
    """
    return _answer(await migrate_all(polystore, dry_run=wanted.dry_run, store=wanted.store))


@router.post(
    "/seed",
    summary="Write the samples",
    responses={
        **_example({"application/json": {"example": {"dry_run": False, "samples": []}}}),
        403: {"model": Problem, "description": "This is a server that others use."},
    },
)
async def seed(
    wanted: Seed, polystore: CurrentPolystore, scope: CurrentScope, request: Request
) -> Response:
    """A few records of every data type; a second time changes nothing. Never in the server profile:
    samples do not belong among what others have stored."""
    if request.app.state.settings.neo_profile == "server" and not wanted.dry_run:
        raise ForbiddenError("samples do not belong on a server that others use")
    lines = await write_samples(polystore, scope, dry_run=wanted.dry_run)
    return json_response({"dry_run": wanted.dry_run, "samples": [asdict(line) for line in lines]})


def _answer(reports: list[MigrationReport]) -> Response:
    behind = any(report.pending or report.problems for report in reports)
    return json_response(
        {"up_to_date": not behind, "stores": [asdict(report) for report in reports]}
    )
