"""What a request leaves behind: its line in the log, its spans, its answer when it fails."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import structlog
from pydantic import SecretStr

from neo_polystore import tracing
from neo_polystore.api.app import create_app
from neo_polystore.errors import ConfigError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.ops import log_setup
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings
from tests.api.conftest import shared
from tests.api.protected import bearer, protected, protected_api
from tests.auth.signing import SECRET

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def log(settings: Settings) -> Iterator[io.StringIO]:
    """What is logged, as JSON lines."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    log_setup.configure(
        settings.model_copy(update={"jwt_secret_key": SecretStr(SECRET)}), stream=stream
    )
    yield stream
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)
    logging.getLogger("neo_polystore").setLevel(logging.NOTSET)
    structlog.reset_defaults()


def lines(log: io.StringIO, event: str = "request") -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in found if line["event"] == event]


async def test_a_line_has_request_tenant_trace_route_and_status_and_no_key(
    settings: Settings, polystore: Polystore, log: io.StringIO
) -> None:
    secret_key = f"private-{uuid4()}"
    async with protected_api(settings, polystore, neo_log_requests="all") as api:
        headers = bearer("reader") | {"traceparent": PARENT, "X-Request-Id": "mine-1"}
        await api.get(f"/api/store/networks/{secret_key}", headers=headers)
        await api.get("/api/admin/routing", headers=bearer("reader"))
    first, second = lines(log)
    assert first["route"] == "/api/store/{data_type}/{key:path}"
    assert (first["method"], first["status"], first["request_id"]) == ("GET", 404, "mine-1")
    assert (first["tenant"], first["trace_id"]) == (str(SYSTEM_TENANT), TRACE)
    assert first["user"]
    assert first["milliseconds"] > 0
    assert second["status"] == 403
    assert "trace_id" not in second
    [refused] = lines(log, "request refused")
    assert refused["request_id"] == second["request_id"]
    assert secret_key not in log.getvalue()
    assert bearer("reader")["Authorization"].split()[1] not in log.getvalue()


@pytest.mark.parametrize("which", ["slow", "none"])
async def test_only_slow_and_failed_requests_have_a_line_by_default(
    settings: Settings, polystore: Polystore, log: io.StringIO, which: str
) -> None:
    async with protected_api(settings, polystore, neo_log_requests=which) as api:
        await api.get("/api/store/networks", headers=bearer("reader"))
    assert lines(log) == []
    async with protected_api(
        settings, polystore, neo_log_requests=which, neo_log_slow_ms=0.0
    ) as api:
        await api.get("/api/store/networks", headers=bearer("reader"))
    assert len(lines(log)) == (1 if which == "slow" else 0)


@pytest.mark.parametrize("parent", ["", f"00-{0:032}-00f067aa0ba902b7-01", "00-xyz", "a\tb"])
async def test_a_traceparent_that_is_none_is_no_trace(
    settings: Settings, polystore: Polystore, log: io.StringIO, parent: str
) -> None:
    async with protected_api(settings, polystore, neo_log_requests="all") as api:
        await api.get("/health", headers={"traceparent": parent})
    assert "trace_id" not in lines(log)[0]


async def test_what_nobody_caught_is_a_problem_with_the_requests_id_and_in_the_log(
    settings: Settings, polystore: Polystore, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("a bug")

    app = create_app(protected(settings), opened=shared(polystore))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as api,
    ):
        monkeypatch.setattr("neo_polystore.api.direct.store.read", broken)
        answer = await api.get("/api/store/networks/1", headers=bearer("reader"))
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "a bug" not in answer.text
    [line] = lines(log)
    assert (line["level"], line["status"]) == ("error", 500)
    assert line["request_id"] == answer.headers["X-Request-Id"]


@pytest.fixture
def spans() -> Iterator[Any]:
    """Everything is traced, into memory."""
    memory = pytest.importorskip(
        "opentelemetry.sdk.trace.export.in_memory_span_exporter",
        reason="the extra `otel` is not installed",
    )
    exporter = memory.InMemorySpanExporter()
    stop = tracing.start(1.0, exporter=exporter)
    yield exporter
    stop()


async def test_a_traced_request_has_a_span_in_its_callers_trace_and_the_stores_within(
    settings: Settings, polystore: Polystore, log: io.StringIO, spans: Any
) -> None:
    changes: dict[str, Any] = {"neo_trace_sample": 1.0, "neo_log_requests": "all"}
    async with protected_api(settings, polystore, **changes) as api:
        headers = bearer("admin") | {"traceparent": PARENT}
        answer = await api.get("/api/store/documents_nowhere/x", headers=headers)
        assert answer.status_code == 404
        await api.get("/api/store/objects", headers=headers)
        await api.get("/api/store/networks?count=true", headers=headers)
    found = spans.get_finished_spans()
    requests = [span for span in found if span.kind.name == "SERVER"]
    assert len(requests) == 3
    for span in requests:
        assert format(span.context.trace_id, "032x") == TRACE
        assert format(span.parent.span_id, "016x") == "00f067aa0ba902b7"
        assert span.attributes["neo.tenant"] == str(SYSTEM_TENANT)
    assert requests[0].attributes["http.response.status_code"] == 404
    assert requests[2].name == "GET /api/store/{data_type}"
    inner = [s for s in found if s.parent and s.parent.span_id == requests[2].context.span_id]
    assert any(s.attributes["db.system.name"] == "postgres" for s in inner), found
    assert all(s.start_time <= s.end_time for s in found)
    assert {line["trace_id"] for line in lines(log)} == {TRACE}


async def test_a_caller_who_samples_not_is_not_sampled(
    settings: Settings, polystore: Polystore, spans: Any
) -> None:
    async with protected_api(settings, polystore, neo_trace_sample=1.0) as api:
        await api.get("/health", headers={"traceparent": PARENT.removesuffix("1") + "0"})
    assert not spans.get_finished_spans()


def test_a_failure_is_marked_by_its_class_alone(spans: Any) -> None:
    with pytest.raises(ValueError, match="private"), tracing.span("job x"):
        raise ValueError("private")
    [span] = spans.get_finished_spans()
    assert (span.name, span.status.status_code.name) == ("job x", "ERROR")
    assert span.attributes["error.type"] == "ValueError"
    assert not span.events
    assert "private" not in span.to_json()


def test_nothing_is_traced_where_nothing_asks_for_it() -> None:
    tracing.start(0.0)()
    with tracing.span("job"):
        pass
    with tracing.request_span("GET", {}) as span:
        assert span is None


def test_without_the_extra_it_says_what_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(ConfigError, match=r"neo-polystore\[otel\]"):
        tracing.start(0.5)
