"""Rate limits over HTTP: fields, refusals, who is limited, and Redis away."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import Depends

from neo_polystore.api.app import create_app
from neo_polystore.api.limits import limited
from neo_polystore.errors import ConfigError
from neo_polystore.ops.limits import Limiter, PolicyCounts
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from tests.api.protected import bearer, protected_api
from tests.redis_server import RedisServer

POLICIES = """
[policies.reads-{name}]
algorithm = "sliding_window"
limit = 3
window_seconds = 60

[policies.daily-{name}]
limit = 100
window_seconds = 86400

[policies.bucket-{name}]
algorithm = "token_bucket"
limit = 10
burst = 20
cost = 5

[policies.open-{name}]
limit = 1
on_failure = "open"
time_budget = 0.2

[policies.closed-{name}]
limit = 1
on_failure = "closed"
time_budget = 0.2

[routes]
"GET /api/store/{{data_type}}" = ["reads-{name}", "daily-{name}"]
"/api/store/*" = ["bucket-{name}"]
"/health" = ["open-{name}"]
"/ready" = ["closed-{name}"]
"""


@pytest.fixture
def name() -> str:
    return uuid4().hex[:8]


@asynccontextmanager
async def limited_api(
    settings: Settings,
    polystore: Polystore,
    text: str,
    folder: Path,
    *,
    peer: str = "192.0.2.1",
    cost: int | None = None,
    **changes: object,
) -> AsyncIterator[httpx.AsyncClient]:
    """The API with these policies over an open facade, asked from `peer`."""
    file = folder / "limits.toml"
    file.write_text(text)

    @asynccontextmanager
    async def shared() -> AsyncIterator[Polystore]:
        yield polystore

    app = create_app(settings.model_copy(update={"neo_limits": file, **changes}), opened=shared())
    policy = text.split("[policies.bucket-")[-1].split("]")[0]

    @app.get("/guarded", dependencies=[Depends(limited(f"bucket-{policy}", cost=cost))])
    async def guarded() -> dict[str, bool]:
        return {"ok": True}

    transport = httpx.ASGITransport(app, client=(peer, 1234))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        client.app = app  # type: ignore[attr-defined]
        yield client


@pytest.fixture
async def api(
    settings: Settings, polystore: Polystore, name: str, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    async with limited_api(settings, polystore, POLICIES.format(name=name), tmp_path) as client:
        yield client


def fields(answer: httpx.Response) -> Mapping[str, dict[str, int]]:
    """The members of `RateLimit`: name to parameters, read by RFC 9651's grammar of our subset."""
    found = {}
    for member in answer.headers["RateLimit"].split(", "):
        match = re.fullmatch(r'"([a-z0-9_-]+)";r=(\d+);t=(\d+)', member)
        assert match, member
        found[match[1]] = {"r": int(match[2]), "t": int(match[3])}
    return found


async def test_an_answer_tells_policies_and_what_remains(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.get("/api/store/networks")
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Policy"] == (
        f'"reads-{name}";q=3;w=60, "daily-{name}";q=100;w=86400'
    )
    found = fields(answer)
    assert found[f"reads-{name}"] == {"r": 2, "t": 60}
    assert found[f"daily-{name}"]["r"] == 99


async def test_too_many_requests_are_answered_429_with_a_problem(
    api: httpx.AsyncClient, name: str
) -> None:
    for _ in range(3):
        assert (await api.get("/api/store/networks")).status_code == 200
    refused = await api.get("/api/store/networks")
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (problem["status"], problem["violated-policies"]) == (429, [f"reads-{name}"])
    assert fields(refused) == {
        f"reads-{name}": {"r": 0, "t": fields(refused)[f"reads-{name}"]["t"]}
    }
    assert int(refused.headers["Retry-After"]) >= fields(refused)[f"reads-{name}"]["t"] > 50


async def test_a_refusal_takes_nothing_from_the_other_policies(
    api: httpx.AsyncClient, name: str
) -> None:
    for _ in range(6):
        await api.get("/api/store/networks")
    found = await api.app.state.limiter.check("192.0.2.1", f"daily-{name}")  # type: ignore[attr-defined]
    assert found.decisions[0].remaining == 96  # three reads and this one


async def test_errors_carry_the_fields_too(api: httpx.AsyncClient, name: str) -> None:
    answer = await api.get("/api/store/networks/999999999999")
    assert answer.status_code == 404
    assert answer.headers["RateLimit-Policy"] == f'"bucket-{name}";q=10;w=60;neo-burst=20'
    assert fields(answer)[f"bucket-{name}"]["r"] == 15


async def test_a_route_without_policies_has_no_fields(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/admin/routing")
    assert answer.status_code == 200
    assert "RateLimit" not in answer.headers


async def test_a_dependency_limits_its_route(api: httpx.AsyncClient, name: str) -> None:
    answers = [await api.get("/guarded") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert fields(answers[0])[f"bucket-{name}"]["r"] == 15
    assert 25 <= int(answers[4].headers["Retry-After"]) <= 30  # five tokens at ten a minute


async def test_a_cost_that_is_never_admitted_says_so_and_names_no_time(
    settings: Settings, polystore: Polystore, name: str, tmp_path: Path
) -> None:
    text = POLICIES.format(name=name)
    async with limited_api(settings, polystore, text, tmp_path, cost=21) as api:
        answer = await api.get("/guarded")
    assert answer.status_code == 429
    assert "the cost is above the 20" in answer.json()["detail"]
    assert "Retry-After" not in answer.headers


async def test_what_a_client_writes_into_x_forwarded_for_is_not_believed(
    api: httpx.AsyncClient,
) -> None:
    answers = [
        await api.get("/api/store/networks", headers={"X-Forwarded-For": f"198.51.100.{n}"})
        for n in range(4)
    ]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429]


async def test_behind_a_trusted_proxy_clients_are_told_apart(
    settings: Settings, polystore: Polystore, name: str, tmp_path: Path
) -> None:
    async with limited_api(
        settings,
        polystore,
        POLICIES.format(name=name),
        tmp_path,
        neo_trusted_proxies="192.0.2.0/24",
    ) as api:
        honest = [
            await api.get("/api/store/networks", headers={"X-Forwarded-For": f"198.51.100.{n}"})
            for n in range(4)
        ]
        forged = [
            await api.get(
                "/api/store/networks", headers={"X-Forwarded-For": f"10.9.9.{n}, 203.0.113.9"}
            )
            for n in range(4)
        ]
    assert {answer.status_code for answer in honest} == {200}
    assert [answer.status_code for answer in forged] == [200] * 3 + [429]


@pytest.fixture
async def server(unused_tcp_port: int, tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis of the test's own."""
    async with RedisServer(tmp_path / "redis", unused_tcp_port) as server:
        yield server


@pytest.fixture
async def own(api: httpx.AsyncClient, server: RedisServer) -> AsyncIterator[Limiter]:
    """The limiter of `api`, put on that server."""
    store = RedisStore(RedisConfig(port=server.port))
    await store.connect()
    limiter: Limiter = api.app.state.limiter  # type: ignore[attr-defined]
    limiter.limits = store.port("limits")
    yield limiter
    await store.close()


async def test_with_redis_stopped_open_policies_admit_and_closed_ones_answer_503(
    api: httpx.AsyncClient, own: Limiter, server: RedisServer, name: str
) -> None:
    assert (await api.get("/ready")).status_code != 429
    assert (await api.get("/ready")).status_code == 429
    await server.stop()
    for _ in range(3):
        opened = await api.get("/health")
        assert opened.status_code != 429
        assert "RateLimit" not in opened.headers
        closed = await api.get("/ready")
        assert (closed.status_code, closed.headers["Retry-After"]) == (503, "1")
        assert f"closed-{name}" in closed.json()["detail"]
    assert own.counts[f"open-{name}"] == PolicyCounts(failed_open=3)
    assert own.counts[f"closed-{name}"] == PolicyCounts(1, 1, failed_closed=3)
    await server.start()
    async with asyncio.timeout(5):
        while own.counts[f"closed-{name}"].admitted < 2:
            await api.get("/ready")
            await asyncio.sleep(0.02)
    assert (await api.get("/ready")).status_code == 429


async def test_a_redis_that_does_not_answer_costs_no_more_than_the_budget(
    own: Limiter, server: RedisServer, name: str
) -> None:
    await own.check("warm", f"open-{name}")
    with server.frozen():
        started = asyncio.get_running_loop().time()
        verdicts = await asyncio.gather(*(own.check("c", f"open-{name}") for _ in range(20)))
        assert asyncio.get_running_loop().time() - started < 1  # the budget is 0.2 s
        assert all(verdict.allowed for verdict in verdicts)
    assert own.counts[f"open-{name}"].failed_open == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[policies.a]\n", "limit"),
        ("[policies.a]\nlimit = 0\n", "policies.a: limit must be a whole number"),
        ("[policies.a]\nlimit = 1.5\n", "policies.a.limit"),
        ("[policies.a]\nlimit = 5\ncost = 6\n", "above the 5"),
        ("[policies.a]\nlimit = 5\nburst = 6\n", "token_bucket only"),
        ("[policies.a]\nlimit = 5\nalgorithm = 'leaky'\n", "algorithm"),
        ("[policies.a]\nlimit = 5\nwindow_seconds = -1\n", "window_seconds"),
        ("[policies.a]\nlimit = 5\non_failure = 'maybe'\n", "on_failure"),
        ("[policies.a]\nlimit = 5\ntime_budget = 0\n", "time_budget"),
        ("[policies.a]\nlimit = 5\nlimits = 5\n", "limits"),
        ("[policies.'A B']\nlimit = 5\n", "small letters"),
        ("[policies.a]\nlimit = 5\n[routes]\n'/health' = ['b']\n", "no policy b; there are a"),
        ("[policies.a]\nlimit = 5\n[routes]\n'health' = ['a']\n", "route template"),
        ("[policies.a]\nlimit = 5\n[routes]\n'/helth' = ['a']\n", "no route /helth"),
        ("[policies.a]\nlimit = 5\n[routes]\n'/health' = ['a', 'a']\n", "each once"),
        ("[policies", "limits.toml"),
    ],
)
def test_a_wrong_file_is_refused_at_the_start(
    settings: Settings, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        create_app(settings.model_copy(update={"neo_limits": file}))


def test_a_file_that_is_missing_is_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        create_app(settings.model_copy(update={"neo_limits": tmp_path / "nowhere"}))


def test_trusted_proxies_that_are_none_are_refused(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text("[policies.a]\nlimit = 5\n")
    changes = {"neo_limits": file, "neo_trusted_proxies": "10.0.0.0/33"}
    with pytest.raises(ConfigError, match="NEO_TRUSTED_PROXIES"):
        create_app(settings.model_copy(update=changes))


def test_the_file_that_the_documentation_shows_is_right(settings: Settings, tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "rate-limits.md"
    file = tmp_path / "limits.toml"
    file.write_text(page.read_text().split("```toml\n")[1].split("```")[0])
    app = create_app(settings.model_copy(update={"neo_limits": file}))
    policies = app.state.limit_policies
    found = {
        request: [policy.name for policy in policies.of_request(*request).policies]
        for request in (
            ("GET", "/api/store/networks"),
            ("POST", "/api/store/networks"),
            ("GET", "/api/store/networks/1"),
            ("GET", "/health"),
        )
    }
    assert list(found.values()) == [["reads"], ["reads", "writes"], ["reads"], []]


async def test_where_others_can_come_guesses_of_passwords_are_bounded_by_default(
    settings: Settings, polystore: Polystore
) -> None:
    guess = {"username": "a", "password": "b", "tenant": str(uuid4())}
    async with protected_api(settings, polystore, neo_profile="server") as api:
        answers = [await api.post("/api/auth/login", json=guess) for _ in range(21)]
        assert [answer.status_code for answer in answers] == [401] * 20 + [429]
        assert int(answers[-1].headers["Retry-After"]) <= 60
        one = await api.get("/api/store/networks/1", headers=bearer("reader"))
        assert "q=60000;w=60;neo-burst=20000" in one.headers["RateLimit-Policy"]
        assert "RateLimit" not in (await api.get("/health")).headers
    for changes in ({"neo_profile": "server", "neo_limits": Path("off")}, {}):
        async with protected_api(settings, polystore, **changes) as api:
            answer = await api.get("/api/store/networks/1", headers=bearer("reader"))
            assert "RateLimit" not in answer.headers
