"""Rate limits over HTTP: policies by route, 429 as a problem document, and the fields that tell.

Fields: `RateLimit` and `RateLimit-Policy` as structured fields (RFC 9651), by
draft-ietf-httpapi-ratelimit-headers-11; `Retry-After` by RFC 9110, 10.2.3. A refusal names in
`RateLimit` only the policies that refused, because no `t` there may lie beyond `Retry-After`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neo_polystore.api.clients import Identify, by_principal, parse_networks
from neo_polystore.api.errors import problem_of
from neo_polystore.api.responses import problem_response
from neo_polystore.errors import LimitedError, PolystoreError
from neo_polystore.ops.limit_policies import Policies, load_policies
from neo_polystore.ops.limits import Limiter, Verdict
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


class RateLimits:
    """ASGI middleware that judges every request by the policies of its route."""

    def __init__(self, app: ASGIApp, *, policies: Policies, identify: Identify):
        self._app = app
        self._policies = policies
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["rate_limit_client"] = self._identify
        verdicts: list[Verdict] = scope["state"].setdefault("rate_limits", [])

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and verdicts:
                add_fields(MutableHeaders(scope=message), verdicts)
            await send(message)

        assignment = self._policies.of_request(scope["method"], scope["path"])
        if assignment is not None and assignment.policies:
            limiter: Limiter = scope["app"].state.limiter
            client = self._identify(scope)
            try:
                verdict = await limiter.judge(client, assignment.policies, route=assignment.route)
                verdicts.append(verdict)
                verdict.raise_refusal()
            except PolystoreError as error:
                scope["route"] = assignment  # for those who count requests by `route.path`
                path = scope["path"]
                answer = (
                    refusal(verdict, error, path)
                    if isinstance(error, LimitedError)
                    else problem_of(error, path)
                )
                await answer(scope, receive, sending)
                return
        await self._app(scope, receive, sending)


def limited(*policies: str, cost: int | None = None) -> Callable[[Request], Awaitable[None]]:
    """A FastAPI dependency that judges by these policies, beside those of the route.

    `dependencies=[Depends(limited("login", cost=5))]`. Does nothing where no policies are set.
    """

    async def dependency(request: Request) -> None:
        limiter: Limiter | None = getattr(request.app.state, "limiter", None)
        if limiter is None:
            return
        identify: Identify = request.state.rate_limit_client
        route = f"{request.method} {request.scope['route'].path}"
        verdict = await limiter.check(identify(request.scope), *policies, cost=cost, route=route)
        request.state.rate_limits.append(verdict)
        verdict.raise_refusal()

    return dependency


def install(app: FastAPI, settings: Settings) -> list[Middleware]:
    """The layer that holds the policies of `limits_file` before all routes, which are there now.

    Raises ConfigError for a file that cannot be read, or that names a route there is none of.
    """
    if (file := settings.limits_file) is None:
        return []
    policies = load_policies(file)
    described = get_openapi(title=app.title, version=app.version, routes=app.routes)
    policies.check_templates(described["paths"])
    app.state.limit_policies = policies
    identify = by_principal(parse_networks(settings.neo_trusted_proxies))

    @app.exception_handler(LimitedError)
    async def refused(request: Request, error: LimitedError) -> Response:
        return refusal(request.state.rate_limits[-1], error, request.url.path)

    return [Middleware(RateLimits, policies=policies, identify=identify)]


def start(app: FastAPI, polystore: Polystore) -> None:
    """Make `app.state.limiter` of the open facade, where there are policies."""
    policies: Policies | None = getattr(app.state, "limit_policies", None)
    if policies is not None:
        app.state.limiter = Limiter(polystore.limits, policies)


def refusal(verdict: Verdict, error: LimitedError, instance: str) -> Response:
    """429 with the draft's problem type; `Retry-After` where waiting helps."""
    answer = problem_response(
        status=429,
        title="Request cannot be satisfied as assigned quota has been exceeded",
        detail=error.message,
        instance=instance,
        extensions={
            "type": QUOTA_EXCEEDED,
            "violated-policies": [policy.name for policy, _ in verdict.refused],
        },
    )
    del answer.headers["Retry-After"]
    if (wait := verdict.retry_after) is not None:
        answer.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    return answer


def add_fields(headers: MutableHeaders, verdicts: list[Verdict]) -> None:
    """Write `RateLimit-Policy` and `RateLimit` of all that was checked for this request."""
    judged = [
        pair
        for verdict in verdicts
        for pair in zip(verdict.policies, verdict.decisions, strict=False)
    ]
    if not judged:
        return
    described = []
    for policy, _ in judged:
        limit = policy.limit
        burst = f";neo-burst={limit.burst}" if limit.burst else ""
        described.append(f'"{policy.name}";q={limit.limit};w={limit.window_seconds}{burst}')
    refused = [(policy, decision) for policy, decision in judged if not decision.allowed]
    current = [
        f'"{policy.name}";r={decision.remaining};t={math.ceil(decision.reset_seconds)}'
        for policy, decision in refused or judged
    ]
    headers["RateLimit-Policy"] = ", ".join(described)
    headers["RateLimit"] = ", ".join(current)
