"""Every filter that the shipped collections offer is served by an index, as the server plans it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from neo_polystore.pgkit.select import page_sql
from neo_polystore.records.documents import document_models
from neo_polystore.records.query import Query, parse_condition
from neo_polystore.stores.jsonb.store import JsonbStore
from tests.conftest import MakeDatabase
from tests.stores.jsonb.test_jsonb import session

START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = 5_000
MINE = "mine"
ACTIONS = ("CREATE", "READ", "UPDATE", "DELETE", "EXECUTE")
NEWEST: dict[str, Any] = {"order": "timestamp", "descending": True, "limit": 20}


def entry(number: int) -> dict[str, Any]:
    """One of many audit entries."""
    return {
        "_id": f"e{number}",
        "timestamp": START + timedelta(seconds=number),
        "user_id": f"user-{number % 200}",
        "action": ACTIONS[number % 5],
        "resource": f"wallet/{number % 100}",
        "resource_id": f"w{number}",
        "tenant_id": MINE if number % 50 == 7 else "another",
        "service": f"service-{number % 60}",
        "request_id": f"r{number}",
        "success": number % 10 != 0,
    }


def contract(number: int) -> dict[str, Any]:
    """One of many contracts."""
    name = f"move{number % 500}"
    inputs = [{"type": "uint256"}, {"type": "tuple[]", "components": [{"type": "address"}]}]
    return {
        "network": "eip155:1",
        "address": f"0x{number:040x}",
        "name": f"Token {number % 700}",
        "tags": [f"t{number % 300}"],
        "abi": [
            {"type": "function", "name": name, "inputs": inputs},
            {"type": "event", "name": name.title(), "inputs": inputs},
        ],
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(make_database: MakeDatabase) -> AsyncIterator[JsonbStore]:
    """Both collections with some thousand documents and statistics."""
    store = JsonbStore(await make_database("documents"))
    await store.migrate()
    await store.connect()
    for name, make in (("audit_logs", entry), ("contract_metadata", contract)):
        model = document_models()[name]
        written = await store.port(name).write([model.parse(make(n)) for n in range(ROWS)])
        assert written.new == ROWS
    async with session(store.database.config, as_owner=True) as connection:
        await connection.execute("VACUUM ANALYZE documents.audit_logs")
        await connection.execute("VACUUM ANALYZE documents.contract_metadata")
    yield store
    await store.close()


async def plan_of(store: JsonbStore, name: str, query: Query) -> str:
    """The plan of a page, without any hint to the planner."""
    port: Any = store.port(name)
    sql, arguments, _ = page_sql(port.selection, query)
    async with store.database.acquire("explain") as connection:
        rows = await connection.fetch(f"EXPLAIN {sql}", *arguments)
    return "\n".join(row[0] for row in rows)


def times(number: int) -> dict[str, Any]:
    """Ten minutes of entries."""
    since = START + timedelta(seconds=number)
    return {"since": since, "until": since + timedelta(minutes=10)}


@pytest.mark.parametrize(
    ("conditions", "options", "index"),
    [
        (["user_id=user-7"], NEWEST, "audit_logs_user_id_1_timestamp_-1"),
        (["user_id=user-7"], {**NEWEST, **times(900)}, "audit_logs_user_id_1_timestamp_-1"),
        (["user_id:=user-7,user-8"], {}, "audit_logs_user_id_1_timestamp_-1"),
        (["user_id^=user-199"], {}, "audit_logs_user_id_1_timestamp_-1"),
        (["resource=wallet/7"], NEWEST, "audit_logs_resource_1_"),
        (["resource=wallet/7", "resource_id=w7"], {}, "audit_logs_resource_"),
        (["action=DELETE"], {**NEWEST, **times(100)}, "timestamp_-1"),
        ([], {**NEWEST, **times(900)}, "audit_logs_timestamp_-1"),
        ([], NEWEST, "audit_logs_timestamp_-1"),
        ([], {"text": "wallet 77", "limit": 20}, "audit_logs_resource_text_resource_text"),
        (["_id=e77"], {}, "audit_logs_pkey"),
        (["resource_id=w7"], NEWEST, "audit_logs_resource_id_1_timestamp_-1"),
        (["service=service-7"], NEWEST, "audit_logs_service_1_timestamp_-1"),
        (["request_id=r7"], NEWEST, "audit_logs_request_id_1"),
        ([f"tenant_id={MINE}"], NEWEST, "audit_logs_tenant_id_1_timestamp_-1"),
        ([f"tenant_id={MINE}"], {**NEWEST, **times(900)}, "audit_logs_"),
        ([f"tenant_id={MINE}", "user_id=user-7"], NEWEST, "audit_logs_"),
        ([f"tenant_id={MINE}", "success=false"], NEWEST, "audit_logs_tenant_id_1_timestamp_-1"),
        ([f"tenant_id={MINE}", "action=READ"], NEWEST, "audit_logs_tenant_id_1_timestamp_-1"),
    ],
)
async def test_searches_of_the_audit_log_use_an_index(
    store: JsonbStore, conditions: list[str], options: dict[str, Any], index: str
) -> None:
    model = document_models()["audit_logs"]
    filters = tuple(parse_condition(model, condition) for condition in conditions)
    plan = await plan_of(store, "audit_logs", Query(filters=filters, **options))
    assert "Seq Scan" not in plan
    assert index in plan


@pytest.mark.parametrize(
    ("conditions", "options", "index"),
    [
        (["network=eip155:1", f"address=0x{7:040x}"], {}, "contract_metadata_"),
        ([f"address=0x{7:040x}"], {}, "contract_metadata_address_1"),
        (["name=Token 7"], {}, "contract_metadata_name_1"),
        (["name^=Token 69"], {}, "contract_metadata_name_1"),
        ([], {"text": "token 699"}, "contract_metadata_name_text_name_text"),
        (["tags=t7"], {}, "contract_metadata_tags_1_tags_items"),
        (["tags:=t7,t8"], {}, "contract_metadata_tags_1_tags_items"),
        (["members=move7"], {}, "contract_metadata_members_1_members_items"),
        (["functions=move7(uint256,(address)[])"], {}, "contract_metadata_functions_1"),
        (["events=Move7(uint256,(address)[])"], {}, "contract_metadata_events_1"),
        (["selectors=0xa9059cbb"], {}, "contract_metadata_selectors_1_selectors_items"),
        (["topics=0x" + "ab" * 32], {}, "contract_metadata_topics_1_topics_items"),
    ],
)
async def test_searches_of_contracts_use_an_index(
    store: JsonbStore, conditions: list[str], options: dict[str, Any], index: str
) -> None:
    model = document_models()["contract_metadata"]
    filters = tuple(parse_condition(model, condition) for condition in conditions)
    plan = await plan_of(store, "contract_metadata", Query(filters=filters, **options))
    assert "Seq Scan" not in plan
    assert index in plan


async def test_later_pages_begin_where_the_cursor_stands(store: JsonbStore) -> None:
    port = store.port("audit_logs")
    query = Query(**NEWEST)
    page = await port.find(query)
    plan = await plan_of(store, "audit_logs", Query(**NEWEST, after=page.next))
    assert "Index Cond" in plan
    assert "audit_logs_timestamp_-1" in plan
