"""A real Prometheus scrapes our own /metrics and writes what it scraped to us."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
import uvicorn

from neo_polystore.api.app import create_app
from neo_polystore.polystore import Polystore
from neo_polystore.records.query import Query
from neo_polystore.settings import Settings
from tests.api.conftest import shared

PATIENCE = 120.0

CONFIGURATION = """
global:
  scrape_interval: 2s
  scrape_timeout: 2s
scrape_configs:
  - job_name: {job}
    static_configs:
      - targets: ["127.0.0.1:{port}"]
remote_write:
  - url: http://127.0.0.1:{port}/api/v1/write
    queue_config:
      batch_send_deadline: 1s
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def program() -> str:
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("no `prometheus` on PATH (Debian: apt-get install prometheus)")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def port(program: str, settings: Settings, polystore: Polystore) -> AsyncIterator[int]:
    """The API on a port, as `serve` has it."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(settings, opened=shared(polystore))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        listener.close()


@pytest_asyncio.fixture(loop_scope="session")
async def job(program: str, port: int, tmp_path: Path) -> AsyncIterator[str]:
    """A Prometheus that runs, and the name of its scrape job."""
    name = f"scraped-{uuid4().hex[:8]}"
    file = tmp_path / "prometheus.yml"
    file.write_text(CONFIGURATION.format(job=name, port=port))
    log = tmp_path / "prometheus.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={file}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{free_port()}",
            stdout=output,
            stderr=output,
        )
    try:
        yield name
        assert process.returncode is None, log.read_text()
        assert "non-recoverable error" not in log.read_text()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_prometheus_writes_what_it_scrapes(polystore: Polystore, job: str, port: int) -> None:
    query = Query(limit=1000).where("service", job)
    deadline = time.monotonic() + PATIENCE
    # the first scrapes of a busy machine may be too late: Prometheus then writes a 0
    up = query.where("name", "up").where("value", 1.0)
    while await polystore.metrics.count(up) < 2:
        assert time.monotonic() < deadline, "Prometheus wrote nothing"
        await asyncio.sleep(0.2)
    first = (await polystore.metrics.find(up)).records[0]
    assert first.tags == {"instance": f"127.0.0.1:{port}"}
    assert abs(first.time.timestamp() - time.time()) < PATIENCE
    names = set(await polystore.metrics.distinct(query, "name"))
    async with httpx.AsyncClient() as client:
        exposed = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    plain = {
        line.partition("{")[0].partition(" ")[0]
        for line in exposed.splitlines()
        if line and not line.startswith("#")
    }
    assert len(names & plain) > 10
