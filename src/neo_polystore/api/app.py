"""Makes the FastAPI application around an open facade."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial

from fastapi import FastAPI
from starlette.types import Scope

from neo_polystore import __version__, tracing
from neo_polystore.api import docs, errors, limits, protection
from neo_polystore.api.ingestion import Ingestion
from neo_polystore.api.measured import Measured
from neo_polystore.api.recorded import Recorded
from neo_polystore.api.routers import (
    admin,
    attest,
    audit,
    auth,
    backups,
    cache,
    health,
    metrics,
    metrics_ingest,
    outbox,
    retention,
    scheduler,
    schemas,
    sealed,
    sealed_blobs,
    store,
    telemetry,
)
from neo_polystore.api.routers import limits as limit_checks
from neo_polystore.audit.trail import AuditTrail
from neo_polystore.auth.principal import Principal
from neo_polystore.backup.session import newest_backups
from neo_polystore.build import open_polystore
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.ops.background import background_work
from neo_polystore.ops.telemetry.exposition import Telemetry
from neo_polystore.ops.telemetry.http import HttpCounts
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings

DESCRIPTION = """
One storage facade over many stores: each data type goes to the store that the routing table
assigns it. Errors are problem documents (RFC 9457); amounts are strings of decimal digits; bytes
are base64; times are ISO 8601 in UTC.
"""


ROUTERS = (
    health.router,
    auth.router,
    store.router,
    metrics.router,
    metrics_ingest.router,
    admin.router,
    limit_checks.router,
    schemas.router,
    backups.router,
    cache.router,
    outbox.router,
    retention.router,
    scheduler.router,
    audit.router,
    sealed.router,
    sealed_blobs.router,
    sealed.survey_router,
    attest.router,
    telemetry.router,
)


def create_app(
    settings: Settings,
    *,
    opened: AbstractAsyncContextManager[Polystore] | None = None,
    started: Callable[[Polystore], Awaitable[None]] | None = None,
) -> FastAPI:
    """The application. It opens the facade at start-up and closes it at shutdown.

    Beside answering it delivers the outbox and runs the scheduler. `opened` takes another facade
    than that of the settings, whose owner does these himself; `started` is awaited when the
    facade is open, before the first request.
    """
    http = HttpCounts()
    app = FastAPI(
        title="neo_polystore",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan(settings, http, opened, started),
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # `Traced` and `Measured` tell of requests; versions that know of no such thing ignore it
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.add_middleware(
        Recorded,
        trail=lambda request: _trail(app, request),
        which=settings.neo_audit_requests,
        skip=settings.audit_skips(),
    )
    app.add_middleware(Measured, counts=http)
    docs.install(app)
    app.state.scope = settings.scope()
    app.state.settings = settings
    app.state.ingestion = Ingestion(settings)
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    limits.install(app, settings)
    protection.install(app, settings)
    return app


def _lifespan(
    settings: Settings,
    http: HttpCounts,
    opened: AbstractAsyncContextManager[Polystore] | None,
    started: Callable[[Polystore], Awaitable[None]] | None,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """What is open while the application serves: the facade, traces and background work."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stop = tracing.start(settings.neo_trace_sample)
        try:
            async with serving(app):
                yield
        finally:
            await asyncio.to_thread(stop)  # it sends what is left

    @asynccontextmanager
    async def serving(app: FastAPI) -> AsyncIterator[None]:
        async with opened or open_polystore(settings, tolerant=True) as polystore:
            app.state.polystore = polystore
            limits.start(app, polystore)
            if started is not None:
                await started(polystore)
            async with (
                background_work(polystore, settings) if opened is None else nullcontext()
            ) as work:
                app.state.telemetry = Telemetry(
                    polystore,
                    http=http,
                    work=work,
                    backups=partial(newest_backups, settings)
                    if settings.neo_backup_target
                    else None,
                )
                try:
                    yield
                finally:
                    await app.state.telemetry.close()

    return lifespan


def _trail(app: FastAPI, request: Scope) -> AuditTrail | None:
    """Where a request is recorded: with the tenant of who made it, or else the system's."""
    polystore: Polystore = app.state.polystore
    if not polystore.has_audit:
        return None
    principal: Principal | None = request["state"].get("principal")
    scope = principal.scope if principal is not None else app.state.scope
    return polystore.audit.within(
        scope if scope.tenant is not None else replace(scope, tenant=SYSTEM_TENANT)
    )
