"""Records over HTTP: writes, reads, queries, and what bad requests are answered."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest

from neo_polystore.polystore import Polystore
from neo_polystore.records.catalog import record_types
from neo_polystore.samples import SAMPLED, samples


@pytest.fixture
async def network(api: httpx.AsyncClient, chain_id: int) -> int:
    """A stored network, for transactions to refer to."""
    record = {
        "chain_id": chain_id,
        "name": f"chain {chain_id}",
        "rpc_endpoint": "https://rpc.example.org",
    }
    answer = await api.post("/api/store/networks", json=[record])
    assert answer.status_code == 200, answer.text
    return chain_id


def transaction(chain_id: int, number: int, **changes: Any) -> dict[str, Any]:
    """A valid transaction as JSON."""
    digest = hashlib.sha256(f"{chain_id}:{number}".encode()).hexdigest()
    return {
        "chain_id": chain_id,
        "hash": f"0x{digest}",
        "from_address": "0x" + "ab" * 20,
        "value": str(10**30 + number),
        "status": "confirmed",
        "block_number": number,
        **changes,
    }


async def test_a_written_record_is_read_back_with_every_digit(
    api: httpx.AsyncClient, network: int
) -> None:
    record = transaction(network, 1)
    answer = await api.post("/api/store/transactions", json=[record])
    assert (answer.status_code, answer.json()["new"]) == (200, 1)
    read = await api.get(f"/api/store/transactions/{network}:{record['hash']}")
    assert read.json() == {**record, "confirmation_count": 0}


async def test_the_same_request_again_adds_nothing(api: httpx.AsyncClient, network: int) -> None:
    records = [transaction(network, n) for n in range(3)]
    await api.post("/api/store/transactions", json=records)
    again = (await api.post("/api/store/transactions", json=records)).json()
    assert (again["new"], again["existing"]) == (0, 3)


async def test_an_ndjson_stream_is_taken_line_by_line(api: httpx.AsyncClient, network: int) -> None:
    lines = [orjson.dumps(transaction(network, n)) for n in range(2_500)]
    lines.insert(1_200, b'{"truncated": ')
    answer = await api.post(
        "/api/store/transactions",
        content=b"\n".join(lines),
        headers={"content-type": "application/x-ndjson"},
    )
    found = answer.json()
    assert (answer.status_code, found["read"], found["new"]) == (207, 2_501, 2_500)
    assert [item["record"] for item in found["rejected"]] == [1_201]
    assert "not JSON" in found["rejected"][0]["reason"]


async def test_one_bad_record_does_not_stop_the_others(
    api: httpx.AsyncClient, network: int
) -> None:
    records = [
        transaction(network, 1),
        transaction(network, 2, value="-5"),
        transaction(network, 3, hash="0x12"),
        transaction(network + 1, 4),
    ]
    answer = await api.post("/api/store/transactions", json=records)
    found = answer.json()
    assert (answer.status_code, found["new"], found["rejections"]) == (207, 1, 3)
    assert [(item["record"], item["field"]) for item in found["rejected"]] == [
        (2, "value"),
        (3, "hash"),
        (4, "chain_id"),
    ]


async def test_a_request_of_which_nothing_is_stored_is_422(
    api: httpx.AsyncClient, network: int
) -> None:
    answer = await api.post("/api/store/transactions", json=transaction(network, 1, value="x"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["rejected"][0]["field"] == "value"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{not json", "application/json", 400),
        (b"<x/>", "application/xml", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"3", "application/json", 422),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_problem(
    api: httpx.AsyncClient, body: bytes, content_type: str, status: int
) -> None:
    answer = await api.post(
        "/api/store/networks", content=body, headers={"content-type": content_type}
    )
    assert answer.status_code == status
    assert answer.json()["status"] == status


@pytest.mark.parametrize("data_type", ["nonsense", "cache", "limits"])
async def test_a_data_type_without_records_is_refused(
    api: httpx.AsyncClient, data_type: str
) -> None:
    for answer in (
        await api.post(f"/api/store/{data_type}", json=[]),
        await api.get(f"/api/store/{data_type}"),
        await api.get(f"/api/store/{data_type}/key"),
    ):
        assert answer.status_code == 404
        assert "transactions" in answer.json()["detail"]


async def test_pages_follow_the_cursor(api: httpx.AsyncClient, network: int) -> None:
    await api.post("/api/store/transactions", json=[transaction(network, n) for n in range(5)])
    seen, after = [], None
    for _ in range(3):
        parameters: dict[str, Any] = {"where": f"chain_id={network}", "order": "-value", "limit": 2}
        page = (
            await api.get(
                "/api/store/transactions",
                params={**parameters, **({"after": after} if after else {})},
            )
        ).json()
        seen += [record["block_number"] for record in page["records"]]
        after = page["next"]
    assert (seen, after) == ([4, 3, 2, 1, 0], None)


async def test_counts_sums_and_distinct_values(api: httpx.AsyncClient, network: int) -> None:
    await api.post("/api/store/transactions", json=[transaction(network, n) for n in range(3)])
    where = {"where": f"chain_id={network}"}
    path = "/api/store/transactions"
    assert (await api.get(path, params={**where, "count": True})).json() == {"count": 3}
    assert (await api.get(path, params={**where, "sum": "value"})).json() == {
        "sum": str(3 * 10**30 + 3)
    }
    assert (await api.get(path, params={**where, "distinct": "block_number"})).json() == {
        "values": [0, 1, 2]
    }


@pytest.mark.parametrize(
    ("parameters", "detail"),
    [
        ({"where": "nonsense=1"}, "no field 'nonsense'"),
        ({"where": "value"}, "expected field=value"),
        ({"where": "status=lost"}, "status"),
        ({"order": "to_address"}, "cannot be ordered"),
        ({"since": "yesterday"}, "ISO 8601"),
        ({"after": "zzz"}, "cursor"),
        ({"sum": "hash"}, "no number"),
        ({"count": "true", "sum": "value"}, "one of"),
        ({"limit": "0"}, "limit"),
        ({"offset": "3"}, "offset"),
    ],
)
async def test_a_bad_query_says_what_is_wrong(
    api: httpx.AsyncClient, parameters: dict[str, str], detail: str
) -> None:
    answer = await api.get("/api/store/transactions", params=parameters)
    assert answer.status_code in (400, 422)
    assert detail in answer.json()["detail"]


async def test_a_missing_record_is_404(api: httpx.AsyncClient) -> None:
    answer = await api.get(f"/api/store/transactions/1:0x{'0' * 64}")
    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")


@pytest.mark.parametrize("data_type", SAMPLED)
async def test_the_example_of_every_data_type_can_be_posted_and_read(
    api: httpx.AsyncClient, data_type: str
) -> None:
    for needed in ("accounts", "networks", data_type):
        records = [
            sample.model_dump(mode="json", by_alias=True, exclude_none=True)
            for sample in samples(needed)
        ]
        answer = await api.post(f"/api/store/{needed}", json=records)
        assert answer.status_code == 200, answer.text
    first = samples(data_type)[0]
    read = await api.get(f"/api/store/{data_type}/{quote(first.key, safe='')}")
    assert read.status_code == 200, read.text
    given = first.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert given.items() <= read.json().items()


async def test_a_tenants_wallets_are_not_shown_to_another(
    api: httpx.AsyncClient, polystore: Polystore
) -> None:
    from neo_polystore.ids import uuid7
    from neo_polystore.records.scope import Scope

    for needed in ("accounts", "networks", "wallets"):
        await api.post(
            f"/api/store/{needed}",
            json=[s.model_dump(mode="json", exclude_none=True) for s in samples(needed)],
        )
    key = samples("wallets")[0].key
    assert (await api.get(f"/api/store/wallets/{key}")).status_code == 200
    stranger = polystore.wallets.within(Scope(tenant=uuid7()))
    from neo_polystore.errors import NotFoundError
    from neo_polystore.records.query import Query

    assert await stranger.count(Query()) == 0
    with pytest.raises(NotFoundError):
        await stranger.get(key)


async def test_the_api_describes_itself_completely(api: httpx.AsyncClient) -> None:
    description = (await api.get("/openapi.json")).json()
    operations = [
        operation
        for path in description["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict)
    ]
    assert len(operations) >= 7
    assert all(operation["summary"] and operation["description"] for operation in operations)
    assert all(any(code < "300" for code in operation["responses"]) for operation in operations)
    examples = description["paths"]["/api/store/{data_type}"]["post"]["requestBody"]["content"][
        "application/json"
    ]["examples"]
    assert set(examples) == set(record_types())
