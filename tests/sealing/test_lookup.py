"""What finding sealed items by their keys costs the server, however many there are."""

from __future__ import annotations

import asyncpg
import pytest

from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.records.sealing import ServiceOwner, UserOwner
from neo_polystore.sealing.items import Draft
from neo_polystore.stores.postgres import sealing_sql as sql
from tests.sealing.conftest import Bench
from tests.sealing.making import LABELLED

MANY, BATCH = 1_000, 100
USER, SERVICE = UserOwner(SYSTEM_TENANT, SYSTEM_USER), ServiceOwner("lookup")
TABLES = ("enclave.sealed_data", "enclave.sealed_heads", "sgx.sealed_data_items")
READ = """
SELECT sum(pg_stat_get_xact_tuples_returned(c.oid)) FROM pg_class c
WHERE c.oid = ANY ($1::text[]::regclass[])
    OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = ANY ($1::text[]::regclass[]))
"""


@pytest.mark.parametrize("owner", [USER, SERVICE], ids=["user", "service"])
@pytest.mark.parametrize("statement", ["fetch", "fetch_facts"])
async def test_a_key_is_one_lookup_though_it_was_planned_for_an_empty_table(
    bench: Bench, owner: UserOwner | ServiceOwner, statement: str
) -> None:
    statements = sql.USER if isinstance(owner, UserOwner) else sql.SERVICE
    who = str(owner).partition(":")[2]
    keys = [f"lookup-{statement}/{n:05}" for n in range(MANY)]
    connection = await asyncpg.connect(**bench.store.config.connect_arguments())
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        prepared = await connection.prepare(getattr(statements, statement))
        async with connection.transaction():
            await act(connection, owner)
            await prepared.fetch(str(owner), who, keys[:BATCH])
        items = bench.sealing.of(owner)
        for at in range(0, MANY, BATCH):
            await items.seal_all([Draft(key, b"x", LABELLED) for key in keys[at : at + BATCH]])
        async with connection.transaction():
            await act(connection, owner)
            rows = await prepared.fetch(str(owner), who, keys[-BATCH:])
            assert all(row["row_mac"] for row in rows)
            # an index entry and a row of the item, and of its head
            assert await connection.fetchval(READ, TABLES) <= 4 * BATCH
    finally:
        await connection.close()


async def act(
    connection: asyncpg.Connection[asyncpg.Record], owner: UserOwner | ServiceOwner
) -> None:
    name, value = (
        ("app.current_tenant", str(owner.tenant))
        if isinstance(owner, UserOwner)
        else ("app.current_service", owner.service)
    )
    await connection.execute("SELECT set_config($1, $2, true)", name, value)
