"""Outbox and scheduler over HTTP, as an operator uses them."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from neo_polystore.ops.background import operational
from neo_polystore.ops.relay import Relay
from neo_polystore.polystore import Polystore
from neo_polystore.ports.outbox import Draft
from tests.ops.sinks import Collecting


@pytest.fixture
async def dead(polystore: Polystore) -> str:
    """A topic with one delivered message, one waiting and three dead letters."""
    store = operational(polystore)
    topic = f"api-{uuid4().hex[:8]}"
    sink = Collecting()
    sink.poison = {"a", "b", "c"}
    await store.outbox.publish([Draft(topic, "k", payload) for payload in ("good", *"abc")])
    await Relay(store.feed, {topic: sink}.get, holder="test").drain()
    await store.outbox.publish([Draft(topic, "k", "waiting")])
    return topic


async def letters(api: httpx.AsyncClient, topic: str, **more: Any) -> dict[str, Any]:
    answer = await api.get("/api/admin/outbox/dead-letters", params={"topic": topic, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_outbox_says_what_waits_and_what_is_dead(
    api: httpx.AsyncClient, dead: str
) -> None:
    topics = (await api.get("/api/admin/outbox")).json()["topics"]
    [found] = [topic for topic in topics if topic["topic"] == dead]
    assert (found["depth"], found["delivered"], found["dead"]) == (1, 1, 3)


async def test_dead_letters_come_page_by_page_with_their_reason(
    api: httpx.AsyncClient, dead: str
) -> None:
    first = await letters(api, dead, limit=2)
    second = await letters(api, dead, limit=2, after=first["next"])
    found = first["dead_letters"] + second["dead_letters"]
    assert [letter["message"]["payload"] for letter in found] == ["a", "b", "c"]
    assert {letter["reason"] for letter in found} == {"poisonous"}
    assert second["next"] is None


async def test_a_dry_run_replays_nothing_and_a_replay_replays_once(
    api: httpx.AsyncClient, dead: str
) -> None:
    one = (await letters(api, dead))["dead_letters"][0]["id"]
    wanted = {"ids": [one]}
    dry = await api.post("/api/admin/outbox/replay", json={**wanted, "dry_run": True})
    assert [letter["id"] for letter in dry.json()["dead_letters"]] == [one]
    assert len((await letters(api, dead))["dead_letters"]) == 3
    done = await api.post("/api/admin/outbox/replay", json=wanted)
    assert (done.status_code, done.json()) == (200, {"replayed": 1})
    assert len((await letters(api, dead))["dead_letters"]) == 2
    again = await api.post("/api/admin/outbox/replay", json=wanted)
    assert (again.status_code, str(one) in again.json()["detail"]) == (404, True)


async def test_a_discarded_letter_stays_on_record_with_its_reason(
    api: httpx.AsyncClient, dead: str
) -> None:
    one = (await letters(api, dead))["dead_letters"][0]["id"]
    wanted = {"ids": [one], "reason": "a duplicate"}
    dry = await api.post("/api/admin/outbox/discard", json={**wanted, "dry_run": True})
    assert dry.json()["discarded"] == 0
    assert len((await letters(api, dead))["dead_letters"]) == 3
    done = await api.post("/api/admin/outbox/discard", json=wanted)
    assert done.json() == {"discarded": 1}
    assert len((await letters(api, dead))["dead_letters"]) == 2
    settled = (await letters(api, dead, settled=True))["dead_letters"]
    assert settled[0]["discard_reason"] == "a duplicate"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("replay", {}, 400),
        ("replay", {"ids": [1], "all": True}, 400),
        ("replay", {"ids": []}, 422),
        ("replay", {"ids": [2**63]}, 422),
        ("replay", {"ids": [2**62]}, 404),
        ("discard", {"ids": [1]}, 422),
        ("discard", {"ids": [1], "reason": ""}, 422),
        ("discard", {"ids": [2**62], "reason": "x"}, 404),
    ],
)
async def test_what_is_no_request_is_refused(
    api: httpx.AsyncClient, path: str, body: dict[str, Any], status: int
) -> None:
    answer = await api.post(f"/api/admin/outbox/{path}", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_job_is_run_and_its_run_is_on_record(api: httpx.AsyncClient) -> None:
    done = await api.post("/api/admin/scheduler/jobs/expired-data/run")
    assert (done.status_code, done.json()["outcome"]) == (200, "done")
    jobs = {job["name"]: job for job in (await api.get("/api/admin/scheduler")).json()["jobs"]}
    assert jobs["expired-data"]["cron"] == "35 * * * *"
    assert jobs["expired-data"]["last_outcome"] == "done"
    assert {"transaction-partitions", "scheduler-runs", "dead-letters"} <= set(jobs)
    runs = (await api.get("/api/admin/scheduler/runs", params={"job": "expired-data"})).json()
    assert runs["runs"][0]["result"] == done.json()["result"]
    assert set(done.json()["result"]) >= {"sessions", "sealed_data_items"}


async def test_a_triggered_job_is_run_by_whoever_runs_jobs(
    api: httpx.AsyncClient, polystore: Polystore
) -> None:
    answer = await api.post("/api/admin/scheduler/jobs/scheduler-runs/trigger")
    assert (answer.status_code, answer.json()["triggered"]) == (202, True)
    ledger = operational(polystore).ledger
    assert "scheduler-runs" in await ledger.due(now=await ledger.now())


async def test_runs_come_page_by_page_the_newest_first(api: httpx.AsyncClient) -> None:
    for _ in range(3):
        await api.post("/api/admin/scheduler/jobs/outbox-partitions/run")
    asked: dict[str, Any] = {"job": "outbox-partitions", "limit": 2}
    first = (await api.get("/api/admin/scheduler/runs", params=asked)).json()
    asked["before"] = first["next"]
    second = (await api.get("/api/admin/scheduler/runs", params=asked)).json()
    ids = [run["id"] for run in first["runs"] + second["runs"]]
    assert len(ids) >= 3
    assert ids == sorted(set(ids), reverse=True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "jobs/nonsense/run"),
        ("POST", "jobs/nonsense/trigger"),
        ("GET", "runs?job=nonsense"),
    ],
)
async def test_an_unknown_job_is_not_found(api: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await api.request(method, f"/api/admin/scheduler/{path}")
    assert (answer.status_code, "expired-data" in answer.json()["detail"]) == (404, True)


async def test_a_job_that_is_running_is_not_run_twice(
    api: httpx.AsyncClient, polystore: Polystore
) -> None:
    ledger = operational(polystore).ledger
    await api.get("/api/admin/scheduler")
    firing = await ledger.claim(
        "dead-letters", holder="another", seconds=60, now=await ledger.now(), forced=True
    )
    assert firing is not None
    try:
        answer = await api.post("/api/admin/scheduler/jobs/dead-letters/run")
        assert (answer.status_code, "running" in answer.json()["detail"]) == (409, True)
    finally:
        await ledger.finish(
            firing, now=await ledger.now(), next_run=await ledger.now(), seconds=0, outcome="done"
        )
