"""What links of the audit trail cost the server."""

from __future__ import annotations

from datetime import date
from uuid import uuid4

import asyncpg

from neo_polystore.ports.audit import Sealed
from neo_polystore.stores.postgres.store import PostgresStore

DAY = date(2026, 1, 2)
READ = """
SELECT pg_stat_get_xact_tuples_returned('audit.chain_links'::regclass) +
    coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0)
FROM pg_index WHERE indrelid = 'audit.chain_links'::regclass
"""


async def test_a_link_reads_no_other_link_however_long_the_chain(postgres: PostgresStore) -> None:
    tenant = uuid4()

    def entries(first: int, count: int) -> tuple[list[object], ...]:
        numbers = range(first, first + count)
        return (
            [tenant] * count,
            [DAY] * count,
            [f"{n}" for n in numbers],
            [n.to_bytes(32) for n in numbers],
        )

    link = "SELECT audit.link($1, $2, $3, $4)"
    connection = await asyncpg.connect(**postgres.config.connect_arguments())
    async with connection.transaction():
        # a connection plans the function while the chain is empty, as a new platform's do
        assert await connection.fetchval(link, *entries(0, 1)) == 1
        for start in range(1, 1001, 100):
            assert await connection.fetchval(link, *entries(start, 100)) == 100
        assert await connection.fetchval(READ) == 0
    await connection.close()


async def test_what_is_linked_already_is_passed_over(postgres: PostgresStore) -> None:
    tenant = uuid4()
    one, two, three = (
        Sealed(tenant, DAY, name, name.encode() * 8) for name in ("aaaa", "b" * 4, "c" * 4)
    )
    assert await postgres.chains.link([two, one, two]) == 2
    assert await postgres.chains.link([one, three, two]) == 1
    links = await postgres.chains.links(tenant, DAY, limit=10)
    assert [(link.seq, link.entry) for link in links] == [(1, "bbbb"), (2, "aaaa"), (3, "cccc")]
