"""The audit trail over HTTP, and the requests that it records by itself."""

from __future__ import annotations

import csv
import io
import json
from uuid import uuid4

import httpx
import pytest

from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings
from tests.api.conftest import client_of


async def found(api: httpx.AsyncClient, **asked: str) -> list[dict[str, object]]:
    answer = await api.get("/api/audit", params=asked)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, object]] = answer.json()["entries"]
    return entries


async def recorded(api: httpx.AsyncClient, resource: str, **more: object) -> str:
    body = {"action": "UPDATE", "resource": resource, "actor": "alice", **more}
    answer = await api.post("/api/audit", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["consistency"] == "committed"
    return str(answer.json()["id"])


async def test_an_entry_that_was_recorded_is_found_by_every_field(api: httpx.AsyncClient) -> None:
    resource = f"wallet-{uuid4().hex}"
    key = await recorded(
        api, resource, resource_id="7", before={"limit": 1, "password": "x"}, after={"limit": 2}
    )
    [entry] = await found(api, resource=resource, actor="alice", action="UPDATE", since="1h")
    assert entry["_id"] == key
    assert entry["changes"] == {
        "limit": {"before": 1, "after": 2},
        "password": {"before": "***"},
    }
    assert (await api.get(f"/api/audit/{key}")).json() == entry
    assert await found(api, resource=resource, actor="bob") == []


async def test_pages_follow_each_other_newest_first(api: httpx.AsyncClient) -> None:
    resource = f"paged-{uuid4().hex}"
    keys = [await recorded(api, resource) for _ in range(5)]
    seen: list[str] = []
    after = None
    while True:
        asked = {"resource": resource, "limit": "2", **({"after": after} if after else {})}
        page = (await api.get("/api/audit", params=asked)).json()
        seen += [entry["_id"] for entry in page["entries"]]
        after = page["next"]
        if after is None:
            break
    assert seen == keys[::-1]


async def test_the_export_is_one_line_per_entry(api: httpx.AsyncClient) -> None:
    resource = f"exported-{uuid4().hex}"
    await recorded(api, resource, details={"note": "=1+1"}, resource_id="=cmd()")
    text = (await api.get("/api/audit/export", params={"resource": resource})).text
    assert [json.loads(line)["resource"] for line in text.splitlines()] == [resource]
    answer = await api.get("/api/audit/export", params={"resource": resource, "format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    [row] = csv.DictReader(io.StringIO(answer.text))
    assert (row["resource"], row["resource_id"]) == (resource, "'=cmd()")
    assert json.loads(row["details"]) == {"note": "=1+1"}


async def test_the_verdict_covers_every_day(api: httpx.AsyncClient) -> None:
    await recorded(api, "verified")
    verdict = (await api.get("/api/audit/verify")).json()
    assert verdict["sound"] is True
    assert sum(day["entries"] for day in verdict["days"]) > 0


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/api/audit?since=yesterday-ish", 400, None),
        ("GET", "/api/audit?action=EXPLODE", 422, None),
        ("GET", "/api/audit?unknown=1", 422, None),
        ("GET", "/api/audit?after=nonsense", 400, None),
        ("GET", "/api/audit/export?since=never", 400, None),
        ("GET", "/api/audit/no-such-entry", 404, None),
        ("GET", "/api/audit/verify?first=tomorrow", 422, None),
        ("POST", "/api/audit", 422, {"action": "EXPLODE", "resource": "x"}),
        ("POST", "/api/audit", 422, {"action": "READ"}),
        ("POST", "/api/audit", 422, {"action": "READ", "resource": "a\x00b"}),
    ],
)
async def test_what_cannot_be_answered_is_a_problem_document(
    api: httpx.AsyncClient, method: str, path: str, status: int, body: object
) -> None:
    answer = await api.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_changing_request_is_recorded_with_its_outcome(api: httpx.AsyncClient) -> None:
    request_id = uuid4().hex
    headers = {"X-Request-Id": request_id, "User-Agent": "test/1"}
    answer = await api.post("/api/store/networks", json=[{"chain_id": "?"}], headers=headers)
    assert answer.headers["x-request-id"] == request_id
    [entry] = await found(api, request_id=request_id)
    assert entry["resource"] == "/api/store/{data_type}"
    assert entry["resource_id"] == "/api/store/networks"
    assert (entry["action"], entry["method"], entry["user_agent"]) == ("CREATE", "POST", "test/1")
    assert entry["status"] == answer.status_code
    assert entry["success"] is (answer.status_code < 400)
    assert entry["ip_address"]


async def test_a_request_id_that_is_none_is_replaced(api: httpx.AsyncClient) -> None:
    bad = {"X-Request-Id": "a b\tc" + "x" * 500}
    answer = await api.post("/api/audit", json={"action": "READ", "resource": "x"}, headers=bad)
    given = answer.headers["x-request-id"]
    assert given != bad["X-Request-Id"]
    assert len(await found(api, request_id=given)) == 1


async def test_reading_is_not_recorded_and_neither_is_what_nobody_answers(
    api: httpx.AsyncClient,
) -> None:
    headers = {"X-Request-Id": uuid4().hex}
    assert (await api.get("/api/audit", headers=headers)).status_code == 200
    assert (await api.post("/api/nowhere", headers=headers)).status_code == 404
    assert await found(api, request_id=headers["X-Request-Id"]) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"neo_audit_requests": "none"},
        {"neo_audit_requests": "admin"},
        {"neo_audit_skip": "/x, /api/audit"},
    ],
)
async def test_settings_say_what_is_recorded(
    settings: Settings, polystore: Polystore, changes: dict[str, str]
) -> None:
    headers = {"X-Request-Id": uuid4().hex}
    async with client_of(settings.model_copy(update=changes), polystore) as api:
        body = {"action": "READ", "resource": "x"}
        assert (await api.post("/api/audit", json=body, headers=headers)).status_code == 201
        assert await found(api, request_id=headers["X-Request-Id"]) == []
