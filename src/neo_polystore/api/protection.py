"""Puts what protects the API around its routes, as the settings say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Scope

from neo_polystore.api.addressed import Addressed
from neo_polystore.api.clients import parse_networks
from neo_polystore.api.described import describe_security
from neo_polystore.api.direct import Direct
from neo_polystore.api.guard import Authenticated, Authorized
from neo_polystore.api.layered import Layered
from neo_polystore.api.logged import RequestLines
from neo_polystore.api.received import Bounds
from neo_polystore.api.recorded import Recorded
from neo_polystore.api.request_context import RequestContext
from neo_polystore.api.traced import Traced
from neo_polystore.audit.trail import AuditTrail
from neo_polystore.auth.authenticator import Authenticator
from neo_polystore.auth.configured import tokens_of
from neo_polystore.auth.permissions import RULES
from neo_polystore.auth.principal import Principal
from neo_polystore.auth.rulebook import Rulebook
from neo_polystore.errors import ConfigError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.ops.telemetry.http import HttpCounts
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings, listed


def install(
    app: Layered, settings: Settings, *, counts: HttpCounts, limited: Sequence[Middleware]
) -> None:
    """Ask who calls and whether he may; call it last. ConfigError for settings that are unsafe.

    From the outside in: tracing, the request's context, CORS, recording, who it is, rate limits
    (`limited`), whether he may; then the handlers that are called directly, then all others. The
    limits lie within what counts and records, which so see what they refuse.
    """
    authenticator = app.state.authenticator = Authenticator(
        lambda: app.state.polystore.accounts,
        tokens=tokens_of(settings),
        longest=settings.neo_token_bytes,
        remember=settings.neo_auth_remember_seconds,
    )
    app.state.home = settings.home()
    app.state.trusted_proxies = parse_networks(settings.neo_trusted_proxies)
    authenticated = Middleware(
        Authenticated,
        authenticator=authenticator,
        local=None if settings.asks_for_tokens else settings.scope(),
    )
    authorized = Middleware(
        Authorized,
        rules=Rulebook(RULES),
        public=public_paths(settings),
        home=frozenset({None, app.state.home}),
        bounds=Bounds(settings.neo_body_bytes, settings.neo_body_seconds),
    )
    recorded = Middleware(
        Recorded,
        trail=lambda request: _trail(app, request),
        which=settings.neo_audit_requests,
        skip=settings.audit_skips(),
    )
    app.layers = [
        *_context(settings, counts),
        recorded,
        authenticated,
        *limited,
        authorized,
        Middleware(Direct),
    ]
    describe_security(app)


def _context(settings: Settings, counts: HttpCounts) -> list[Middleware]:
    """What is around a request whoever makes it."""
    origins = listed(settings.neo_cors_origins)
    layers = [
        Middleware(
            RequestContext,
            addressed=Addressed(
                hosts=listed(settings.neo_trusted_hosts),
                cross_site=settings.asks_for_tokens,
                origins=origins,
            ),
            counts=counts,
            https=settings.neo_profile == "server",
            lines=RequestLines(settings.neo_log_requests, slow_ms=settings.neo_log_slow_ms),
            trace_ids=not settings.neo_trace_sample,
        )
    ]
    if settings.neo_trace_sample:
        layers.insert(0, Middleware(Traced))
    if origins:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=_checked(origins, settings),
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-Id"],
                expose_headers=["X-Request-Id", "RateLimit", "RateLimit-Policy", "Retry-After"],
                max_age=600,
            )
        )
    return layers


def public_paths(settings: Settings) -> frozenset[str]:
    """The routes of NEO_PUBLIC_PATHS; ConfigError for one that is none, or holds data."""
    paths = frozenset(listed(settings.neo_public_paths))
    able = {rule.path for rule in RULES if not rule.path.startswith("/api/")}
    if wrong := sorted(paths - able):
        raise ConfigError(
            f"NEO_PUBLIC_PATHS: {', '.join(wrong)} is no route that may be public; there are"
            f" {', '.join(sorted(able))}"
        )
    return paths


def _checked(origins: list[str], settings: Settings) -> list[str]:
    if "*" in origins and not settings.asks_for_tokens:
        raise ConfigError(
            "NEO_CORS_ORIGINS: * lets every web page in where no token is asked for; name the"
            " origins, or set NEO_AUTH=required"
        )
    for origin in origins:
        if origin != "*" and (not origin.startswith(("http://", "https://")) or origin[-1] == "/"):
            raise ConfigError(
                f"NEO_CORS_ORIGINS: {origin!r}: expected origins such as https://app.example.com"
            )
    return origins


def _trail(app: Layered, request: Scope) -> AuditTrail | None:
    """Where a request is recorded: with the tenant of who made it, or else the system's."""
    polystore: Polystore = app.state.polystore
    if not polystore.has_audit:
        return None
    principal: Principal | None = request["state"].get("principal")
    scope = principal.scope if principal is not None else app.state.scope
    return polystore.audit.within(
        scope if scope.tenant is not None else replace(scope, tenant=SYSTEM_TENANT)
    )
