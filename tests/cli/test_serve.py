"""`serve`: comes up, shares its data directory with commands, survives kill -9, stops cleanly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from neo_polystore.embedded import status
from neo_polystore.samples import SAMPLED, samples
from tests.cli.conftest import Answer, command, environment

PATIENCE = 60.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Poll until the condition is true; fail after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"gave up waiting for {what}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One `serve` process on a data directory."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.port = free_port()
        self.log = directory.parent / f"serve-{self.port}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command("serve", "--port", str(self.port), "--samples"),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory.parent,
                env=environment(directory),
            )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        wait_for(self._answers, f"the server: {self.log.read_text()}")

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            pytest.fail(f"serve ended with {self.process.returncode}: {self.log.read_text()}")
        try:
            return self.client.get("/ready").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, how: signal.Signals) -> int:
        """Signal the process and wait for its end."""
        self.process.send_signal(how)
        code = self.process.wait(timeout=PATIENCE)
        self.client.close()
        return code


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A data directory of the test's own; nothing may run there afterwards."""
    os.chmod(tmp_path, 0o755)  # noqa: PTH101, S103
    yield tmp_path / "data"
    wait_for(lambda: not status(tmp_path / "data").running, "the servers to stop")


def networks(first: int, count: int) -> list[dict[str, Any]]:
    """Valid networks with consecutive chain ids."""
    return [
        {"chain_id": n, "name": f"chain {n}", "rpc_endpoint": "https://rpc.example.org"}
        for n in range(first, first + count)
    ]


def cli(directory: Path, *words: str) -> Answer:
    """A command beside the server, on the same data directory."""
    done = subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(directory),
        cwd=directory.parent,
    )
    return Answer(done)


def test_serve_commands_kill_and_restart(directory: Path) -> None:
    """One story, as a start costs seconds: serve, command beside it, kill -9, restart, stop."""
    server = Server(directory)
    assert server.client.get("/health").json()["status"] == "healthy"
    for data_type in SAMPLED:
        found = server.client.get(f"/api/store/{data_type}", params={"count": True}).json()
        assert found["count"] >= len(samples(data_type)), data_type
    assert server.client.post("/api/store/networks", json=networks(1, 20)).json()["new"] == 20

    # every data type, from another process while the server runs (chDB and tantivy too)
    beside = cli(directory, "demo", "--json")
    assert (beside.code, beside.json["ok"]) == (0, True), beside.out + beside.err
    for data_type in ("analytics", "logs", "transactions", "audit_logs", "objects"):
        mine = cli(directory, "query", data_type, "--count", "--json").json["count"]
        theirs = server.client.get(f"/api/store/{data_type}", params={"count": True}).json()
        assert mine == theirs["count"] > 0, data_type

    acknowledged = 0
    for first in range(100, 1_100, 100):
        acknowledged += server.client.post("/api/store/networks", json=networks(first, 100)).json()[
            "new"
        ]
    server.stop(signal.SIGKILL)
    assert (
        cli(directory, "query", "networks", "--count", "--json").json["count"] == acknowledged + 21
    )

    server = Server(directory)
    found = server.client.get("/api/store/networks", params={"count": True}).json()["count"]
    assert found == acknowledged + 21
    assert server.stop(signal.SIGINT) == 0
    assert str(directory) in server.log.read_text()
    assert not status(directory).running
