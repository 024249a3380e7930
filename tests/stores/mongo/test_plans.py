"""Every filter that the shipped collections offer is served by an index, as MongoDB plans it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.records.documents import document_models
from neo_polystore.records.query import Query, parse_condition
from tests.stores.jsonb.test_plans import MINE, NEWEST, contract, entry, times

pytest.importorskip("pymongo", reason="the extra `mongo` is not installed")

from neo_polystore.stores.mongo.conditions import indexed
from neo_polystore.stores.mongo.config import MongoConfig
from neo_polystore.stores.mongo.pages import sort_of
from neo_polystore.stores.mongo.store import MongoStore

ROWS = 500


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(mongo_server: str) -> AsyncIterator[MongoStore]:
    """Both collections with some hundred documents."""
    database = f"neo_test_{uuid4().hex[:8]}"
    store = MongoStore(MongoConfig(url=SecretStr(mongo_server), database=database))
    await store.connect()
    await store.migrate()
    for name, make in (("audit_logs", entry), ("contract_metadata", contract)):
        model = document_models()[name]
        written = await store.port(name).write([model.parse(make(n)) for n in range(ROWS)])
        assert written.new == ROWS
    yield store
    await store.database.client.drop_database(database)
    await store.close()


async def plan_of(store: MongoStore, name: str, conditions: list[str], options: Any) -> str:
    """The plan that wins."""
    model = document_models()[name]
    filters = tuple(parse_condition(model, condition) for condition in conditions)
    query = Query(filters=filters, **options)
    cursor = store.database[name].find(indexed(model, query)).sort(sort_of(model, query))
    plan = await cursor.limit(query.limit).explain()
    return str(plan["queryPlanner"]["winningPlan"])


@pytest.mark.parametrize(
    ("conditions", "options", "index"),
    [
        (["user_id=user-7"], NEWEST, "user_id_1_timestamp_-1"),
        (["user_id=user-7"], {**NEWEST, **times(90)}, "user_id_1_timestamp_-1"),
        (["user_id:=user-7,user-8"], {}, "user_id_1_timestamp_-1"),
        (["user_id^=user-19"], {}, "user_id_1_timestamp_-1"),
        (["resource=wallet/7"], NEWEST, "resource_1_timestamp_-1"),
        (["resource=wallet/7", "resource_id=w7"], {}, "resource_"),
        (["resource_id=w7"], NEWEST, "resource_id_1_timestamp_-1"),
        (["action=DELETE"], NEWEST, "action_1_timestamp_-1"),
        (["service=service-7"], NEWEST, "service_1_timestamp_-1"),
        (["request_id=r7"], {}, "request_id_1"),
        ([f"tenant_id={MINE}"], NEWEST, "tenant_id_1_timestamp_-1"),
        ([f"tenant_id={MINE}", "success=false"], NEWEST, "tenant_id_1_timestamp_-1"),
        ([f"tenant_id={MINE}", "user_id=user-7"], {**NEWEST, **times(90)}, "timestamp_-1"),
        ([], {**NEWEST, **times(90)}, "timestamp_-1"),
        ([], NEWEST, "timestamp_-1"),
        ([], {"text": "wallet 77", "limit": 20}, "resource_text"),
        ([f"tenant_id={MINE}"], {**NEWEST, "text": "wallet 77"}, "resource_text"),
        (["_id=e77"], {}, "_id_"),
    ],
)
async def test_searches_of_the_audit_log_use_an_index(
    store: MongoStore, conditions: list[str], options: dict[str, Any], index: str
) -> None:
    plan = await plan_of(store, "audit_logs", conditions, options)
    assert "COLLSCAN" not in plan
    assert index in plan
    # the newest come in the order of the index: none is sorted, however many there are
    assert options is not NEWEST or "'SORT'" not in plan


@pytest.mark.parametrize(
    ("conditions", "options", "index"),
    [
        (["network=eip155:1", f"address=0x{7:040x}"], {}, "address_1"),
        ([f"address=0x{7:040x}"], {}, "address_1"),
        (["name=Token 7"], {}, "name_1"),
        (["name^=Token 69"], {}, "name_1"),
        ([], {"text": "token 69"}, "name_text"),
        (["tags=t7"], {}, "tags_1"),
        (["tags:=t7,t8"], {}, "tags_1"),
        (["members=move7"], {}, "members_1"),
        (["functions=move7(uint256,(address)[])"], {}, "functions_1"),
        (["events=Move7(uint256,(address)[])"], {}, "events_1"),
        (["selectors=0xa9059cbb"], {}, "selectors_1"),
        (["topics=0x" + "ab" * 32], {}, "topics_1"),
    ],
)
async def test_searches_of_contracts_use_an_index(
    store: MongoStore, conditions: list[str], options: dict[str, Any], index: str
) -> None:
    plan = await plan_of(store, "contract_metadata", conditions, options)
    assert "COLLSCAN" not in plan
    assert index in plan
