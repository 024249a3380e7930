"""Makes the FastAPI application around an open facade."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial

from fastapi import FastAPI

from neo_polystore import __version__, tracing
from neo_polystore.api import docs, errors, limits, protection
from neo_polystore.api.ingestion import Ingestion
from neo_polystore.api.layered import Layered
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
from neo_polystore.backup.session import newest_backups
from neo_polystore.build import open_polystore
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
    app = Layered(
        title="neo_polystore",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan(settings, http, opened, started),
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # our layers tell of requests; versions that know of no such thing ignore it
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    docs.install(app)
    app.state.scope = settings.scope()
    app.state.settings = settings
    app.state.ingestion = Ingestion(settings)
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    limited = limits.install(app, settings)
    protection.install(app, settings, counts=http, limited=limited)
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
