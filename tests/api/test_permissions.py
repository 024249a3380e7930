"""The permission table, walked for every route that the application has."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from neo_polystore.api.app import create_app
from neo_polystore.auth.permissions import (
    PERMISSIONS,
    PUBLIC,
    ROLES,
    RULES,
    is_allowed,
    reaches_across_tenants,
)
from neo_polystore.auth.rulebook import Rulebook
from neo_polystore.errors import ConfigError
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings
from tests.api.protected import bearer, protected, protected_api

BOOK = Rulebook(RULES)
OPEN = frozenset({"/health", "/ready"})


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """Method and template of every route, also those that no document names, and mounts."""

    def walk(routes: Any) -> Iterator[tuple[str, str]]:
        for route in routes:
            if hasattr(route, "effective_route_contexts"):
                yield from walk(route.effective_route_contexts())
            elif getattr(route, "methods", None):
                for method in route.methods:
                    yield method, route.path
            else:
                yield "GET", f"{route.path}/file"

    return {(method, path) for method, path in walk(app.routes) if method != "HEAD"}


@pytest.fixture(scope="module")
def routes(settings: Settings) -> list[tuple[str, str]]:
    return sorted(routes_of(create_app(protected(settings))))


def test_every_route_has_a_rule_of_its_own_or_of_its_prefix(
    routes: list[tuple[str, str]],
) -> None:
    missing = []
    for method, template in routes:
        found = BOOK.find(method, sample(template))
        exact = found and found.rule and (found.rule.is_prefix or found.rule.path == template)
        if not exact:
            missing.append(f"{method} {template}")
    assert not missing, "add these to auth/permissions.py"


def test_every_rule_has_a_route(routes: list[tuple[str, str]]) -> None:
    there = set(routes)
    stale = [
        f"{method} {rule.path}"
        for rule in RULES
        if not rule.is_prefix
        for method in rule.methods
        if (method, rule.path) not in there
    ]
    assert not stale


def test_every_permission_is_of_some_role_and_every_role_has_some() -> None:
    named = {rule.permission for rule in RULES} | {p for r in RULES for p in r.of.values()}
    assert named - {PUBLIC} == PERMISSIONS.keys()
    assert {role for roles in PERMISSIONS.values() for role in roles} == ROLES.keys()
    assert all("admin" in roles for roles in PERMISSIONS.values())
    assert not is_allowed(ROLES, "no such permission")


def sample(template: str) -> str:
    """A path that the template matches."""
    path = template.replace("{data_type}", "networks").replace("{store}", "postgres")
    return re.sub(r"\{[^}]*\}", str(uuid4()), path)


class Reached:
    """Stands in the place of a handler that changes something: to get here is to be let in."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def walked(settings: Settings, polystore: Polystore) -> AsyncIterator[httpx.AsyncClient]:
    """The application with all its layers; behind them nothing is changed."""
    async with protected_api(settings, polystore, neo_audit_requests="none") as client:
        app: FastAPI = client.app  # type: ignore[attr-defined]
        inner = app.build_middleware_stack
        router = app.router

        async def routed(scope: Any, receive: Any, send: Any) -> None:
            to = router if scope["method"] == "GET" else Reached()
            await to(scope, receive, send)

        app.router = routed  # type: ignore[assignment]
        app.middleware_stack = inner()
        app.router = router
        yield client


async def test_nothing_is_served_without_a_token_but_what_is_public(
    walked: httpx.AsyncClient, routes: list[tuple[str, str]]
) -> None:
    for method, template in routes:
        answer = await walked.request(method, sample(template))
        found = BOOK.find(method, sample(template))
        assert found is not None
        if template in OPEN or found.permission == PUBLIC:
            assert answer.status_code not in (401, 403), template
        else:
            assert answer.status_code == 401, f"{method} {template}"
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("role", ["nobody", *ROLES])
async def test_each_role_is_served_what_the_table_says_and_nothing_else(
    walked: httpx.AsyncClient, routes: list[tuple[str, str]], role: str
) -> None:
    for method, template in routes:
        found = BOOK.find(method, sample(template))
        assert found is not None
        answer = await walked.request(method, sample(template), headers=bearer(role))
        free = template in OPEN or found.permission == PUBLIC
        if free or is_allowed([role], found.permission):
            assert answer.status_code not in (401, 403), f"{role}: {method} {template}"
        else:
            assert answer.status_code == 403, f"{role}: {method} {template}"
            assert "insufficient_scope" in answer.headers["WWW-Authenticate"]


async def test_the_platform_is_not_for_the_administrators_of_tenants(
    walked: httpx.AsyncClient, routes: list[tuple[str, str]]
) -> None:
    seen = 0
    for method, template in routes:
        found = BOOK.find(method, sample(template))
        assert found is not None
        if reaches_across_tenants(found.permission):
            headers = bearer("admin", tenant=str(uuid4()))
            answer = await walked.request(method, sample(template), headers=headers)
            assert answer.status_code == 403, f"{method} {template}"
            seen += 1
        elif template.startswith("/api/admin"):
            pytest.fail(f"{template} is administration and asks for {found.permission}")
    assert seen > 5


@pytest.mark.parametrize("data_type", ["accounts", "audit_logs", "sealed"])
async def test_some_data_types_take_more_than_others(
    walked: httpx.AsyncClient, data_type: str
) -> None:
    path = f"/api/store/{data_type}"
    for role in ("operator", "reader"):
        assert (await walked.get(path, headers=bearer(role))).status_code == 403
        assert (await walked.get(f"{path}/x", headers=bearer(role))).status_code == 403
        assert (await walked.post(path, headers=bearer(role))).status_code == 403
    assert (await walked.get(path, headers=bearer("admin"))).status_code == 200


async def test_a_path_of_no_rule_does_not_exist_even_where_a_route_does(
    settings: Settings, polystore: Polystore
) -> None:
    app = create_app(protected(settings))

    @app.get("/forgotten")
    async def forgotten() -> dict[str, bool]:
        return {"open": True}

    app.state.polystore = polystore
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://api"
    ) as client:
        assert (await client.get("/forgotten")).status_code == 401
        assert (await client.get("/forgotten", headers=bearer("admin"))).status_code == 404
        put = await client.put("/api/metrics/query", headers=bearer("admin"))
        assert (put.status_code, put.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "path",
    [
        "/api/store/networks/../accounts",
        "/api/store//accounts",
        "/API/store/accounts",
        "/api/store/accounts/",
        "/api/store/accounts%0a",
        "/api/admin/routing/",
        "/api/admin//routing",
        "//api/admin/routing",
        "/health/../api/admin/routing",
        "/health%2f..%2fapi%2fadmin%2frouting",
        "/api/admin/routing%00",
        "/api/admin/routing;x",
    ],
)
async def test_no_spelling_of_a_path_gets_past_the_table(
    walked: httpx.AsyncClient, path: str
) -> None:
    reader = await walked.request("GET", f"http://api{path}", headers=bearer("reader"))
    assert reader.status_code in (400, 403, 404), reader.text
    assert (await walked.request("GET", f"http://api{path}")).status_code == 401


def test_public_paths_hold_no_data(settings: Settings) -> None:
    for wrong in ("/api/store/{data_type}", "/api/admin/routing", "/nowhere"):
        with pytest.raises(ConfigError, match="NEO_PUBLIC_PATHS"):
            create_app(protected(settings, neo_public_paths=wrong))


async def test_metrics_are_public_where_the_settings_say_so(
    settings: Settings, polystore: Polystore
) -> None:
    async with protected_api(settings, polystore) as api:
        assert (await api.get("/metrics")).status_code == 401
        assert (await api.get("/metrics", headers=bearer("reader"))).status_code == 403
        assert (await api.get("/metrics", headers=bearer("service"))).status_code == 200
    async with protected_api(settings, polystore, neo_public_paths="/health,/metrics") as api:
        assert (await api.get("/metrics")).status_code == 200
        assert (await api.get("/ready")).status_code == 401


def test_the_documentation_shows_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    assert table() in page, f"docs/security.md lacks the table as it is:\n{table()}"


def table() -> str:
    """The table of routes as the documentation has it."""
    lines = ["| methods | route | permission | roles |", "|---|---|---|---|"]
    for rule in RULES:
        roles = ", ".join(role for role in ROLES if role in PERMISSIONS.get(rule.permission, ()))
        permission = f"`{rule.permission}`"
        if rule.of:
            permission += "".join(f"; {name}: `{other}`" for name, other in rule.of.items())
        methods = ", ".join(sorted(rule.methods))
        lines.append(f"| {methods} | `{rule.path}` | {permission} | {roles or 'anybody'} |")
    return "\n".join(lines)
