"""Schemas, samples, backups and the cache over HTTP, with their effect in the stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.build import open_polystore
from neo_polystore.polystore import Polystore
from neo_polystore.samples import SAMPLED, samples
from neo_polystore.settings import Settings
from tests.api.conftest import client_of
from tests.api.protected import bearer, protected_api

NAMED = f"backup-{uuid4().hex[:8]}"


async def test_the_status_of_migrations_is_that_of_every_store(
    api: httpx.AsyncClient, polystore: Polystore
) -> None:
    answer = (await api.get("/api/admin/migration-status")).json()
    assert answer["up_to_date"] is True
    found = {report["store"]: report for report in answer["stores"]}
    assert found.keys() == polystore.stores.keys()
    assert found["postgres"]["current"]
    assert found["redis"]["not_applicable"]


async def test_migrating_again_changes_nothing_and_an_unknown_store_is_refused(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.post("/api/admin/migrate", json={})
    assert (answer.status_code, answer.json()["up_to_date"]) == (200, True)
    assert all(not report["applied"] for report in answer.json()["stores"])
    one = await api.post("/api/admin/migrate", json={"store": "postgres", "dry_run": True})
    assert [report["store"] for report in one.json()["stores"]] == ["postgres"]
    wrong = await api.post("/api/admin/migrate", json={"store": "nowhere"})
    assert (wrong.status_code, "nowhere" in wrong.json()["detail"]) == (400, True)


async def test_seeding_writes_samples_once(api: httpx.AsyncClient) -> None:
    dry = (await api.post("/api/admin/seed", json={"dry_run": True})).json()
    assert {line["data_type"] for line in dry["samples"]} == set(SAMPLED)
    assert all(line["new"] == 0 for line in dry["samples"])
    await api.post("/api/admin/seed", json={})
    again = (await api.post("/api/admin/seed", json={})).json()
    assert all(line["new"] == line["rejected"] == 0 for line in again["samples"])
    assert (await api.get(f"/api/store/networks/{samples('networks')[0].key}")).status_code == 200


async def test_a_server_that_others_use_is_not_seeded(
    settings: Settings, polystore: Polystore
) -> None:
    async with protected_api(settings, polystore, neo_profile="server") as api:
        answer = await api.post("/api/admin/seed", json={}, headers=bearer("admin"))
        assert answer.status_code == 403
        assert "others use" in answer.json()["detail"]
        for path in ("migrate", "seed"):
            operator = await api.post(f"/api/admin/{path}", json={}, headers=bearer("operator"))
            assert operator.status_code == 403
            assert (await api.post(f"/api/admin/{path}", json={})).status_code == 401


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def backed(
    settings: Settings, polystore: Polystore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """The API with a target for backups."""
    target = tmp_path_factory.mktemp("target")
    changes = {"neo_backup_target": str(target), "neo_backup_key": SecretStr("ab" * 32)}
    async with client_of(settings.model_copy(update=changes), polystore) as client:
        yield client


async def test_a_backup_is_made_listed_shown_and_its_restore_planned(
    backed: httpx.AsyncClient,
) -> None:
    record = {"bucket": NAMED, "name": "a", "content": "aGk="}
    assert (await backed.post("/api/store/objects", json=record)).status_code == 200
    made = await backed.post("/api/admin/backups", json={"stores": ["files"]})
    assert made.status_code == 200, made.text
    run = made.json()["run"]
    assert made.json()["encrypted"] is True
    saved = {store["name"]: store for store in made.json()["stores"]}
    assert saved["files"]["rows"] > 0
    assert not any(store["stored_bytes"] for name, store in saved.items() if name != "files")
    [listed] = (await backed.get("/api/admin/backups")).json()["runs"]
    assert (listed["run"], listed["complete"]) == (run, True)
    shown = await backed.get(f"/api/admin/backups/{run}")
    assert shown.json()["stores"] == made.json()["stores"]
    plan = await backed.post(f"/api/admin/backups/{run}/restore", json={"dry_run": True})
    [step] = plan.json()["plan"]
    assert (step["store"], plan.json()["restored"]) == ("files", [])
    assert step["occupied"]
    refused = await backed.post(f"/api/admin/backups/{run}/restore", json={})
    assert refused.status_code == 409
    assert (await backed.get(f"/api/store/objects/{NAMED}/a")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "20200101T000000-00000000"),
        ("GET", "..%2f..%2fetc"),
        ("POST", "20200101T000000-00000000/verify"),
        ("POST", "x/restore"),
    ],
)
async def test_a_run_that_there_is_none_of_is_not_found(
    backed: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await backed.request(
        method, f"/api/admin/backups/{path}", json={} if method == "POST" else None
    )
    assert answer.status_code == 404


async def test_without_a_target_there_are_no_backups(api: httpx.AsyncClient) -> None:
    for answer in (
        await api.get("/api/admin/backups"),
        await api.post("/api/admin/backups", json={}),
    ):
        assert answer.status_code == 409
        assert "NEO_BACKUP_TARGET" in answer.json()["detail"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the servers can come to, which run as another user where we are root."""
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o755)
    return tmp_path


async def test_a_restore_brings_an_empty_store_back(folder: Path, settings: Settings) -> None:
    """On an installation of its own: only the objects, in files of the data directory."""
    own = settings.model_copy(
        update={"neo_data_dir": folder / "data", "neo_backup_target": str(folder / "target")}
    )
    async with open_polystore(own, data_types={"objects"}) as opened, client_of(own, opened) as api:
        record = {"bucket": "restored", "name": "n", "content": "aGk="}
        assert (await api.post("/api/store/objects", json=record)).json()["new"] == 1
        run = (await api.post("/api/admin/backups", json={"stores": ["files"]})).json()["run"]
        await opened.stores["files"].clear()
        assert (await api.get("/api/store/objects/restored/n")).status_code == 404
        answer = await api.post(f"/api/admin/backups/{run}/restore", json={"stores": ["files"]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["restored"][0]["store"] == "files"
        assert (await api.get("/api/store/objects/restored/n")).json()["content"] == "aGk="


async def test_a_family_of_the_cache_is_counted_and_emptied(
    api: httpx.AsyncClient, polystore: Polystore
) -> None:
    client = uuid4().hex
    asked: dict[str, Any] = {"client": client, "endpoint": "flush", "limit": 5}
    assert (await api.post("/api/limits/check", json=asked)).json()["remaining"] == 4
    keys = (await api.get("/api/admin/cache")).json()["families"]
    assert keys["rate_limit"] >= 1
    wanted = {"family": "rate_limit", "dry_run": True}
    dry = (await api.post("/api/admin/cache/flush", json=wanted)).json()
    assert dry == {"family": "rate_limit", "keys": keys["rate_limit"], "dry_run": True}
    done = (await api.post("/api/admin/cache/flush", json={"family": "rate_limit"})).json()
    assert done["keys"] >= 1
    assert (await api.get("/api/admin/cache")).json()["families"]["rate_limit"] == 0
    assert (await api.post("/api/limits/check", json=asked)).json()["remaining"] == 4
    wrong = await api.post("/api/admin/cache/flush", json={"family": "*"})
    assert wrong.status_code == 400


async def test_limits_are_checked_for_the_clients_of_a_tenant(
    settings: Settings, polystore: Polystore
) -> None:
    async with protected_api(settings, polystore) as api:
        asked: dict[str, Any] = {"client": uuid4().hex, "endpoint": "x", "limit": 2, "cost": 2}
        one, other = bearer("service", tenant=str(uuid4())), bearer("service", tenant=str(uuid4()))
        first = (await api.post("/api/limits/check", json=asked, headers=one)).json()
        assert (first["allowed"], first["remaining"]) == (True, 0)
        peeked = await api.post("/api/limits/check", json=asked | {"dry_run": True}, headers=one)
        assert peeked.json()["allowed"] is False
        again = (await api.post("/api/limits/check", json=asked, headers=one)).json()
        assert again["allowed"] is False
        assert again["retry_after"] > 0
        assert (await api.post("/api/limits/check", json=asked, headers=other)).json()["allowed"]
        bad = await api.post("/api/limits/check", json=asked | {"burst": 3}, headers=one)
        assert bad.status_code == 400


async def test_one_record_is_put_under_its_key_and_no_other(
    api: httpx.AsyncClient, chain_id: int
) -> None:
    record = {"chain_id": chain_id, "name": "one", "rpc_endpoint": "https://rpc.example.org"}
    path = f"/api/store/networks/{chain_id}"
    assert (await api.put(path, json=record)).json()["new"] == 1
    changed = await api.put(path, json=record | {"name": "two"})
    assert (changed.status_code, changed.json()["replaced"]) == (200, 1)
    assert (await api.get(path)).json()["name"] == "two"
    for body, status in (
        (record | {"chain_id": chain_id + 1}, 400),
        ([record, record], 400),
        (record | {"name": 5}, 422),
        ([], 400),
    ):
        assert (await api.put(path, json=body)).status_code == status, body
    assert (await api.get(f"/api/store/networks/{chain_id + 1}")).status_code == 404


async def test_objects_are_deleted_and_what_goes_by_retention_is_not(
    api: httpx.AsyncClient,
) -> None:
    bucket = f"gone-{uuid4().hex[:8]}"
    record = {"bucket": bucket, "name": "a/b", "content": "aGk="}
    await api.post("/api/store/objects", json=record)
    path = f"/api/store/objects/{bucket}/a/b"
    held = (
        await api.post("/api/admin/holds", json={"reason": "a case", "data_types": ["objects"]})
    ).json()
    try:
        refused = await api.delete(path)
        assert (refused.status_code, "hold" in refused.json()["detail"]) == (409, True)
    finally:
        await api.post(f"/api/admin/holds/{held['hold']['id']}/release", json={"reason": "over"})
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
    assert (await api.delete(path)).status_code == 404
    other = await api.delete("/api/store/transactions/1:0x00")
    assert (other.status_code, other.headers["Allow"]) == (405, "GET, PUT")
