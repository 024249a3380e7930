"""The whole API against what its own OpenAPI document allows and forbids: no 500, nothing that
the document does not tell of. `make test` takes a few examples per operation, `make test-long`
many."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from neo_polystore.api.app import create_app
from neo_polystore.settings import Settings
from tests.api.protected import bearer
from tests.auth.signing import SECRET
from tests.cli.conftest import command, environment
from tests.cli.test_serve import free_port

PATIENCE = 90.0
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """An NDJSON body: whatever text the document allows."""
    return str(value).encode(errors="replace")


def document() -> dict[str, Any]:
    """The OpenAPI document of the application."""
    return create_app(Settings(_env_file=None)).openapi()  # type: ignore[call-arg]


schema = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A platform of its own that asks for tokens, in a process of its own: its address."""
    folder = tmp_path_factory.mktemp("fuzz")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)  # the servers run as another user where we are root
    port = free_port()
    changes = {"NEO_AUTH": "required", "JWT_SECRET_KEY": SECRET}
    log = folder / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command("serve", "--port", str(port), "--samples"),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment(folder / "data", **changes),
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, address, log)
        yield address
        text = log.read_text()
        assert "Traceback" not in text, text[-5_000:]
        assert SECRET not in text
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def wait_until_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Poll until it answers."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(f"not ready: {log.read_text()}")


def examples(count: int) -> Any:
    """So many cases of each operation, the same ones every time."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def check(case: Any, server: str) -> None:
    """Send it as an administrator, and hold the answer against the document."""
    headers = bearer("admin") | {"X-Request-Id": secrets.token_hex(4)}
    answer = case.call(base_url=server, headers=headers, timeout=60)
    case.validate_response(answer, checks=CHECKS)


@schema.parametrize()
@examples(4)  # type: ignore[untyped-decorator]
def test_no_answer_is_a_500_or_undocumented(case: Any, server: str) -> None:
    check(case, server)


@pytest.mark.long
@schema.parametrize()
@examples(150)  # type: ignore[untyped-decorator]
def test_no_answer_of_many_is_a_500_or_undocumented(case: Any, server: str) -> None:
    check(case, server)
