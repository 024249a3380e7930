"""Retention and holds over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from neo_polystore.polystore import Polystore

OLD = datetime.now(UTC) - timedelta(days=365 * 9)


@pytest_asyncio.fixture(loop_scope="session")
async def old(polystore: Polystore) -> str:
    """The key of an audit entry that is past its time."""
    port = polystore.documents("audit_logs")
    key = uuid4().hex
    body = {"_id": key, "timestamp": OLD, "user_id": "u", "action": "READ", "resource": "r"}
    assert (await port.write([port.record.parse(body)])).new == 1
    return key


async def line(api: httpx.AsyncClient) -> dict[str, Any]:
    """What the plan says of the audit entries."""
    answer = await api.get("/api/admin/retention", params={"data_type": "audit_logs"})
    assert answer.status_code == 200, answer.text
    [found] = answer.json()["plan"]
    return dict(found)


async def test_a_held_entry_stays_until_it_is_released(
    api: httpx.AsyncClient, polystore: Polystore, old: str
) -> None:
    wanted = {"data_types": ["audit_logs"], "key": old, "reason": "case 7"}
    answer = await api.post("/api/admin/holds", json=wanted)
    assert (answer.status_code, answer.json()["covers"]) == (201, {"audit_logs": 1})
    number = answer.json()["hold"]["id"]
    assert (await line(api))["held"] == 1
    apply = {"data_types": ["audit_logs"]}
    dry = await api.post("/api/admin/retention/apply", json={**apply, "dry_run": True})
    assert dry.json()["plan"][0]["held"] == 1
    done = await api.post("/api/admin/retention/apply", json=apply)
    assert done.json()["done"][0]["held"] == 1
    assert (await polystore.documents("audit_logs").get(old)).key == old
    holds = (await api.get("/api/admin/holds")).json()["holds"]
    assert number in [hold["id"] for hold in holds]
    path = f"/api/admin/holds/{number}/release"
    assert (await api.post(path, json={"reason": "over"})).status_code == 200
    assert (await api.post(path, json={"reason": "over"})).status_code == 404
    done = await api.post("/api/admin/retention/apply", json=apply)
    assert done.json()["done"][0]["deleted"] == 1


async def test_the_policy_says_what_is_kept_how_long(api: httpx.AsyncClient) -> None:
    found = (await api.get("/api/admin/retention/policy")).json()
    rules = {rule["data_type"]: rule for rule in found["rules"]}
    assert (rules["logs"]["age"], rules["accounts"]["age"]) == ("90 days", None)
    assert found["cron"] == "30 3 * * *"


async def test_the_plan_names_every_data_type_and_why_nothing_goes(
    api: httpx.AsyncClient,
) -> None:
    lines = {
        each["data_type"]: each for each in (await api.get("/api/admin/retention")).json()["plan"]
    }
    assert lines["cache"]["note"].startswith("every key has its own time")
    assert lines["accounts"]["note"] == "kept until somebody deletes it"
    assert lines["objects"]["note"].startswith("the buckets' own lifecycle rules")
    assert not [each for each in lines.values() if each["problem"]]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("holds", {"data_types": ["logs"]}, 422),
        ("holds", {"data_types": ["logs"], "reason": ""}, 422),
        ("holds", {"reason": "x"}, 400),
        ("holds", {"data_types": ["log"], "reason": "x"}, 400),
        ("holds", {"data_types": ["accounts"], "reason": "x"}, 501),
        ("holds", {"data_types": ["logs"], "where": ["colour=red"], "reason": "x"}, 400),
        ("holds", {"data_types": ["metrics"], "key": "a", "reason": "x"}, 400),
        ("holds/9223372036854775807/release", {"reason": "x"}, 404),
        ("retention/apply", {"data_types": ["nothing"]}, 400),
        ("retention/apply", {"data_types": []}, 422),
    ],
)
async def test_what_is_no_request_is_refused(
    api: httpx.AsyncClient, path: str, body: dict[str, Any], status: int
) -> None:
    answer = await api.post(f"/api/admin/{path}", json=body)
    assert answer.status_code == status, answer.text
