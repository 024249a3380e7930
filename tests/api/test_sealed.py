"""Sealing and attestation over HTTP."""

from __future__ import annotations

import base64
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from neo_polystore.api.routers.sealed import _items, only_itself
from neo_polystore.auth.principal import Principal
from neo_polystore.errors import ForbiddenError
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER, uuid7
from neo_polystore.polystore import Polystore
from neo_polystore.records.scope import Scope
from neo_polystore.records.sealing_policies import SealingPolicy
from tests.attestation.pki import NOW, Intel

LABEL = {"policy": "USER_DEFINED", "label": "l"}


def item(content: bytes = b"secret", **fields: Any) -> dict[str, Any]:
    text = base64.b64encode(content).decode()
    return {"data_key": uuid4().hex, "content": text, "identity": LABEL, **fields}


def opening(sealed: dict[str, Any], **opener: Any) -> dict[str, Any]:
    return {"data_key": sealed["data_key"], "opener": {"label": "l", **opener}}


@pytest.mark.parametrize("owner", ["", "?service=pay"])
async def test_an_item_is_sealed_opened_listed_and_deleted(
    api: httpx.AsyncClient, owner: str
) -> None:
    sealed = item(b"\0bytes")
    made = await api.post(f"/api/sealed/items{owner}", json=sealed)
    assert (made.status_code, made.json()["version"]) == (201, 1)
    opened = await api.post(f"/api/sealed/open{owner}", json=opening(sealed))
    assert (opened.content, opened.headers["ETag"]) == (b"\0bytes", '"1"')
    assert opened.headers["Cache-Control"] == "no-store"
    query = {"prefix": sealed["data_key"]}
    url = f"/api/sealed/items{owner}"
    listed = (await api.get(httpx.URL(url).copy_merge_params(query))).json()
    assert [one["data_key"] for one in listed["items"]] == [sealed["data_key"]]
    assert "content" not in listed["items"][0]
    gone = {"data_key": sealed["data_key"], "expected": 1}
    assert (await api.post(f"/api/sealed/delete{owner}", json=gone)).status_code == 204
    assert (await api.post(f"/api/sealed/open{owner}", json=opening(sealed))).status_code == 404


@pytest.mark.parametrize("owner", [{}, {"service": "pay"}])
async def test_content_of_its_own_is_sealed_and_opened_as_it_comes(
    api: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    content = random.Random(1).randbytes((2 << 20) + 3)
    query = {"data_key": uuid4().hex, "label": "l", **owner}

    async def body() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 70_000):
            yield content[at : at + 70_000]

    made = await api.put("/api/sealed/content", params=query, content=body())
    assert (made.status_code, made.json()["size"]) == (201, len(content))
    opened = await api.post("/api/sealed/open", params=owner, json=opening(query))
    assert opened.content == content
    assert (opened.headers["Content-Length"], opened.headers["ETag"]) == (str(len(content)), '"1"')
    stale = await api.put("/api/sealed/content", params={**query, "expected": 0}, content=b"x")
    assert stale.status_code == 409
    for bad in ({"policy": "MRENCLAVE"}, {"svnfloor": "1"}):
        refused = await api.put("/api/sealed/content", params=query | bad, content=b"x")
        assert refused.status_code == 422


@pytest.mark.parametrize("owner", [{}, {"service": "pay"}])
async def test_an_item_is_sealed_again_for_the_next_release(
    api: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    signer = {"policy": "MRSIGNER", "measurement": "cd" * 32, "product_id": 7, "svn_floor": 2}
    sealed = item(b"seed", identity=signer)
    await api.post("/api/sealed/items", params=owner, json=sealed)
    opener = {"mr_signer": "cd" * 32, "product_id": 7, "svn": 3}
    wanted = {"data_key": sealed["data_key"], "opener": opener, "svn_floor": 3}
    done = await api.post("/api/sealed/reseal", params=owner, json=wanted)
    assert (done.status_code, done.json()["version"], done.json()["svn_floor"]) == (200, 2, 3)
    for svn, status in ((2, 403), (3, 200)):
        asked = {"data_key": sealed["data_key"], "opener": opener | {"svn": svn}}
        opened = await api.post("/api/sealed/open", params=owner, json=asked)
        assert opened.status_code == status
    gone = await api.post("/api/sealed/reseal", json={**wanted, "data_key": uuid4().hex})
    assert gone.status_code == 404


async def test_a_services_blobs_are_kept_byte_for_byte(api: httpx.AsyncClient) -> None:
    url, pay = "/api/sealed/blobs", {"service": "pay"}
    prefix = uuid4().hex
    blob = {
        "data_key": f"{prefix}/a b",
        "enclave_id": "e1",
        "policy": "MRENCLAVE",
        "mac": "ab" * 32,
        "blob": base64.b64encode(b"\0bytes").decode(),
    }
    made = await api.post(url, params=pay, json=[blob, {**blob, "mac": "no"}])
    assert (made.status_code, made.json()["new"]) == (207, 1)
    assert [found["field"] for found in made.json()["rejected"]] == ["mac"]
    listed = (await api.get(url, params={**pay, "prefix": prefix})).json()["blobs"]
    assert [(one["data_key"], one["size"], "blob" in one) for one in listed] == [
        (blob["data_key"], 6, False)
    ]
    found = await api.get(f"{url}/{prefix}/a%20b", params=pay)
    assert (found.json()["blob"], found.json()["version"]) == (blob["blob"], 1)
    foreign = await api.get(f"{url}/{prefix}/a%20b", params={"service": "other"})
    assert foreign.status_code == 404
    assert (await api.get(url)).status_code == 422
    assert (await api.delete(f"{url}/{prefix}/a%20b", params=pay)).status_code == 204
    assert (await api.delete(f"{url}/{prefix}/a%20b", params=pay)).status_code == 404


async def test_named_policies_are_shown(api: httpx.AsyncClient, polystore: Polystore) -> None:
    name = f"p{uuid4().hex[:6]}"
    policy = SealingPolicy(name=name, policy_type="MRSIGNER", svn_floor=2)
    await polystore.sealing.put_policy(policy)
    found = (await api.get("/api/sealed/policies")).json()["policies"]
    [shown] = [one for one in found if one["name"] == name]
    assert (shown["policy_type"], shown["svn_floor"]) == ("MRSIGNER", 2)


async def test_refusals_have_their_status(api: httpx.AsyncClient) -> None:
    sealed = item()
    await api.post("/api/sealed/items", json=sealed)
    wrong = await api.post("/api/sealed/open", json=opening(sealed, label="other"))
    assert (wrong.status_code, "another label" in wrong.text) == (403, True)
    stale = await api.post("/api/sealed/items", json={**sealed, "expected": 7})
    assert stale.status_code == 409
    bad = await api.post("/api/sealed/items", json=item(identity={"policy": "MRENCLAVE"}))
    assert bad.status_code == 422
    elsewhere = await api.post("/api/sealed/open?service=other", json=opening(sealed))
    assert elsewhere.status_code == 404


async def test_the_inventory_counts_what_is_sealed(api: httpx.AsyncClient) -> None:
    await api.post("/api/sealed/items", json=item())
    found = (await api.get("/api/admin/sealed/inventory")).json()["inventory"]
    assert sum(one["items"] for one in found) >= 1
    assert {one["policy"] for one in found} >= {"USER_DEFINED"}


async def test_health_tells_mode_and_key(api: httpx.AsyncClient) -> None:
    await api.post("/api/sealed/items", json=item())
    found = await api.get("/health/sgx")
    body = found.json()
    assert (found.status_code, body["status"], body["mode"]) == (200, "healthy", "simulation")
    assert body["storage"] and body["key_present"] and body["key_usable"]
    assert (body["wrapped_by"], body["below_svn_floor"]) == ("local", 0)
    assert body["oldest_key_days"] >= 0


async def test_a_quote_is_verified_kept_and_judged_again(api: httpx.AsyncClient) -> None:
    intel = Intel()  # not Intel: genuine for nobody here
    body = {
        "quote": base64.b64encode(intel.quote()).decode(),
        "collateral": intel.collateral().decode(),
        "at": NOW.isoformat(),
    }
    found = (await api.post("/api/attest/verify", json=body)).json()
    assert (found["accepted"], found["genuine"]) == (False, False)
    kept = (await api.get(f"/api/attest/{found['id']}")).json()
    assert (kept["sha256"], kept["at"]) == (found["sha256"], found["at"])
    [newest] = (await api.get("/api/attest", params={"limit": 1})).json()["attestations"]
    assert (newest["id"], newest["accepted"]) == (found["id"], False)
    challenged = body | {"policy": {"report_data": "zz"}}
    assert (await api.post("/api/attest/verify", json=challenged)).status_code == 422
    again = (await api.get(f"/api/attest/{found['id']}/recheck")).json()
    assert again["holds"] is True
    assert (await api.get(f"/api/attest/{uuid4()}")).status_code == 404


def test_a_proven_caller_has_his_own_items_only(polystore: Polystore) -> None:
    someone = uuid7()
    user = Principal(Scope(SYSTEM_TENANT, user=str(someone)), frozenset({"service"}), "jwt")
    program = Principal(Scope(SYSTEM_TENANT, service="pay"), frozenset({"service"}), "jwt")
    admin = Principal(Scope(SYSTEM_TENANT, user=str(someone)), frozenset({"admin"}), "jwt")
    assert str(_items(polystore, user, None, None).owner) == f"user:{someone}"
    assert str(_items(polystore, program, None, "pay").owner) == "service:pay"
    assert str(_items(polystore, admin, SYSTEM_USER, None).owner) == f"user:{SYSTEM_USER}"
    for caller, owner, service in (
        (user, SYSTEM_USER, None),
        (user, None, "pay"),
        (admin, None, "pay"),
        (program, None, "other"),
        (program, SYSTEM_USER, None),
    ):
        with pytest.raises(ForbiddenError):
            _items(polystore, caller, owner, service)
    only_itself(program, "pay")
    for caller, name in ((program, "other"), (user, "pay"), (admin, "pay")):
        with pytest.raises(ForbiddenError):
            only_itself(caller, name)
