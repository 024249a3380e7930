"""What `rest` is compared with: FastAPI with a trivial route, and with an asyncpg pool behind it.

`python -m benchmarks.rest_peer PORT`, with BENCH_DSN in the environment; one worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from benchmarks.relational_bench import POOL
from benchmarks.routing import INSERT, READ
from neo_polystore.ids import uuid7


class NewTransaction(BaseModel):
    """One transaction as it is posted."""

    chain_id: int
    hash: str
    from_address: str
    to_address: str | None = None
    value: int
    status: str = "pending"


@asynccontextmanager
async def _pool(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["BENCH_DSN"], min_size=POOL, max_size=POOL) as pool:
        app.state.pool = pool
        rows = await pool.fetch("SELECT chain_id, id FROM blockchain.networks")
        app.state.networks = {row["chain_id"]: row["id"] for row in rows}
        yield


app = FastAPI(lifespan=_pool)


@app.get("/trivial")
async def trivial() -> dict[str, bool]:
    """The least that this framework can be asked for."""
    return {"ok": True}


@app.post("/trivial")
async def trivial_post(given: dict[str, Any]) -> dict[str, bool]:
    """The least with a body."""
    return {"ok": bool(given)}


@app.get("/transactions/{chain_id}/{key}")
async def read(chain_id: int, key: str) -> dict[str, Any]:
    """One record by key."""
    async with app.state.pool.acquire() as connection:
        row = await connection.fetchrow(READ, chain_id, key)
    if row is None:
        raise HTTPException(404)
    return {name: str(value) for name, value in row.items() if value is not None}


@app.post("/transactions")
async def write(given: NewTransaction) -> dict[str, int]:
    """One record in one INSERT."""
    network: UUID = app.state.networks[given.chain_id]
    async with app.state.pool.acquire() as connection:
        await connection.execute(
            INSERT,
            network,
            given.hash,
            uuid7(),
            given.from_address,
            given.to_address,
            given.value,
            given.status,
        )
    return {"new": 1}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
