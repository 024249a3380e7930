"""`rest`: the API with authentication on, against the framework it is made with.

One worker each, in processes of their own; the client shares their two cores. References are the
same framework's trivial JSON route, and FastAPI with an asyncpg pool behind it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from benchmarks.relational_bench import RUNS
from benchmarks.rest_client import get, post, rate
from benchmarks.routing import CHAIN, prepared
from benchmarks.runner import Report
from neo_polystore import Polystore, Settings, open_polystore
from neo_polystore.auth.tokens import Claims, Tokens
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.networks import Network
from neo_polystore.records.transactions import Transaction

STORED = 20_000
READS = 5_000
WRITES = 2_000
BULK = 50_000
SECRET = secrets.token_urlsafe(48)


@dataclass(frozen=True, slots=True)
class Rest:
    """The report under construction, ports of the servers, the facade, a token."""

    report: Report
    polystore: Polystore
    ours: int
    unrecorded: int
    peer: int
    token: str
    connection: asyncpg.Connection[asyncpg.Record]

    async def empty(self) -> None:
        """Remove all transactions, so that no run pays for the rows of those before it."""
        await self.connection.execute(
            "TRUNCATE blockchain.transactions, blockchain.transaction_keys"
        )


async def run() -> Report:
    """Run all comparisons."""
    report = Report("rest")
    async with _opened(report) as rest:
        await _point_reads(rest)
        await _single_writes(rest)
        await _bulk(rest)
    return report


async def _point_reads(rest: Rest) -> None:
    records = prepared(STORED)
    await rest.polystore.transactions.write(records)
    await rest.connection.execute("ANALYZE")
    ours = [get(f"/api/store/transactions/{r.key}", rest.token) for r in records[:READS]]
    trivial = [get("/trivial")] * READS
    peer = [get(f"/transactions/{CHAIN}/{r.hash}") for r in records[:READS]]
    for name, port, requests, what in (
        ("point_read_rest", rest.peer, trivial, "the framework's trivial JSON route"),
        ("point_read_rest_peer", rest.peer, peer, "FastAPI with an asyncpg pool"),
    ):
        await rest.report.compare(
            name,
            ours=lambda: rate(rest.ours, ours),
            reference=lambda port=port, requests=requests: rate(port, requests),  # type: ignore[misc]
            reference_is=what,
            unit="requests/s",
            runs=RUNS,
        )
    await rest.empty()


async def _single_writes(rest: Rest) -> None:
    def posts(path: str, token: str | None = None) -> Callable[[], Sequence[bytes]]:
        return lambda: [post(path, _json(r), token) for r in prepared(WRITES)]

    ours = posts("/api/store/transactions", rest.token)
    for name, port, reference, what in (
        ("ingest_rest", rest.ours, posts("/trivial"), "the framework's trivial JSON route"),
        ("ingest_rest_peer", rest.ours, posts("/transactions"), "FastAPI, one INSERT per call"),
        ("ingest_rest_unrecorded", rest.unrecorded, posts("/trivial"), "the trivial route"),
        ("ingest_rest_unrecorded_peer", rest.unrecorded, posts("/transactions"), "one INSERT"),
    ):
        await rest.report.compare(
            name,
            ours=lambda port=port: rate(port, ours()),  # type: ignore[misc]
            reference=lambda reference=reference: rate(rest.peer, reference()),  # type: ignore[misc]
            reference_is=what,
            unit="requests/s",
            runs=RUNS,
        )
        await rest.empty()


async def _bulk(rest: Rest) -> None:
    async def stream() -> float:
        body = b"\n".join(_json(record) for record in prepared(BULK))
        request = post("/api/store/transactions", body, rest.token, kind="x-ndjson")
        return BULK * await rate(rest.ours, [request], connections=1)

    async def api() -> float:
        records = prepared(BULK)
        started = time.perf_counter()
        await rest.polystore.transactions.write(records)
        return BULK / (time.perf_counter() - started)

    await rest.report.compare(
        "ingest_rest_ndjson",
        ours=stream,
        reference=api,
        reference_is="the Python API's bulk load of models that are there already",
        unit="records/s",
        runs=3,
    )


def _json(record: Transaction) -> bytes:
    return record.model_dump_json(exclude_none=True).encode()


@asynccontextmanager
async def _opened(report: Report) -> AsyncIterator[Rest]:
    directory = Path(tempfile.mkdtemp(prefix="neo-polystore-bench-"))
    settings = Settings(_env_file=None, neo_data_dir=directory / "data")  # type: ignore[call-arg]
    servers: list[subprocess.Popen[bytes]] = []
    try:
        async with open_polystore(settings, data_types=("networks", "transactions")) as polystore:
            network = Network(chain_id=CHAIN, name="bench", rpc_endpoint="https://rpc.example.org")
            await polystore.networks.write([network])
            config: PgConfig = polystore.stores["postgres"].config  # type: ignore[attr-defined]
            connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
            ports = (_free_port(), _free_port(), _free_port())
            serve = ("-m", "neo_polystore", "serve", "--port")
            own = {
                "NEO_DATA_DIR": str(settings.neo_data_dir),
                "NEO_AUTH": "required",
                "JWT_SECRET_KEY": SECRET,
            }
            unrecorded = own | {"NEO_AUDIT_REQUESTS": "admin"}
            dsn = _dsn(config)
            servers = [
                _start(*serve, str(ports[0]), **own),
                _start(*serve, str(ports[1]), **unrecorded),
                _start("-m", "benchmarks.rest_peer", str(ports[2]), BENCH_DSN=dsn),
            ]
            for port, path in zip(ports, ("/ready", "/ready", "/trivial"), strict=True):
                await _answers(f"http://127.0.0.1:{port}{path}")
            claims = Claims(settings.neo_jwt_issuer, settings.neo_jwt_audience)
            token = Tokens(claims, secret=SECRET).sign(
                user="bench", tenant=SYSTEM_TENANT, roles=["service"], seconds=86_400
            )
            yield Rest(report, polystore, *ports, token, connection)
            await connection.close()
            _stop(servers)
    finally:
        _stop(servers)
        shutil.rmtree(directory, ignore_errors=True)


def _start(*words: str, **environment: str) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEO_")}
    kept |= {name: value for name, value in os.environ.items() if name == "NEO_EMBEDDED_PG_BIN"}
    return subprocess.Popen(  # noqa: S603  our own words
        [sys.executable, *words], env=kept | environment, stderr=subprocess.DEVNULL
    )


def _stop(servers: list[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        server.terminate()
    for server in servers:
        server.wait(timeout=60)


async def _answers(url: str) -> None:
    async with asyncio.timeout(120), httpx.AsyncClient() as client:
        while True:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dsn(config: PgConfig) -> str:
    given = config.connect_arguments()
    return str(
        httpx.URL(
            scheme="postgresql",
            username=given["user"],
            password=given["password"],
            host=given["host"],
            port=given["port"],
            path=f"/{given['database']}",
        )
    )
