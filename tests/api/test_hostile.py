"""What is sent to do harm: bodies, paths, headers and names; each refused with the right status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import unquote

import httpx
import pytest
import pytest_asyncio
import uvicorn

from neo_polystore.api.app import create_app
from neo_polystore.api.downloads import attachment
from neo_polystore.api.protocol import patient
from neo_polystore.errors import ConfigError
from neo_polystore.polystore import Polystore
from neo_polystore.settings import Settings
from tests.api.conftest import client_of, shared
from tests.api.protected import bearer, protected, protected_api

MEGABYTE = b" " * 2**20


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(settings: Settings, polystore: Polystore) -> AsyncIterator[httpx.AsyncClient]:
    async with protected_api(settings, polystore) as client:
        yield client


class Sent:
    """A body of many parts, which counts how many were asked for."""

    def __init__(self, parts: int):
        self.parts = parts
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.parts):
            self.taken += 1
            yield MEGABYTE


JSON = {"content-type": "application/json"}


async def test_100_megabytes_of_json_are_refused_unread_where_their_length_is_said(
    api: httpx.AsyncClient,
) -> None:
    body = Sent(100)
    headers = bearer("admin") | JSON | {"content-length": str(100 << 20)}
    answer = await api.post("/api/auth/keys", content=body, headers=headers)
    assert (answer.status_code, body.taken) == (413, 0)
    assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("path", ["/api/auth/keys", "/api/store/networks", "/api/audit"])
async def test_100_megabytes_of_json_in_parts_are_refused_at_the_bound(
    api: httpx.AsyncClient, path: str
) -> None:
    body = Sent(100)
    answer = await api.post(path, content=body, headers=bearer("admin") | JSON)
    assert (answer.status_code, body.taken) == (413, 65)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_nobodys_body_is_read(api: httpx.AsyncClient) -> None:
    body = Sent(3)
    for headers in ({}, bearer("nobody"), {"Authorization": "Bearer x"}):
        answer = await api.post("/api/store/networks", content=body, headers=headers | JSON)
        assert answer.status_code in (401, 403)
        assert answer.headers["Connection"] == "close"
    assert body.taken == 0


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["\\ud800",' + b"["])
@pytest.mark.parametrize("path", ["/api/store/networks", "/api/auth/keys", "/api/audit"])
async def test_deeply_nested_json_is_refused(
    api: httpx.AsyncClient, path: str, opening: bytes
) -> None:
    body = opening + b"[" * 200_000
    answer = await api.post(path, content=body, headers=bearer("admin") | JSON)
    assert answer.status_code in (400, 422), answer.text
    closed = b'["\\ud800",' + b"[" * 100_000 + b"]" * 100_000 + b"]"
    answer = await api.post(path, content=closed, headers=bearer("admin") | JSON)
    assert answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize(
    "key",
    [
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//....//etc/passwd",
        "/etc/passwd",
        "..\\..\\windows\\win.ini",
        "a\0b",
        "a%00b",
        "%ff%fe",
        "x" * 5_000,
        "backups/../../../../etc/passwd",
    ],
)
@pytest.mark.parametrize("data_type", ["objects", "networks", "audit_logs", "logs", "sealed"])
async def test_no_key_leads_out_of_its_store(
    api: httpx.AsyncClient, data_type: str, key: str
) -> None:
    url = httpx.URL("http://api/").copy_with(
        raw_path=f"/api/store/{data_type}/{key}".replace("\0", "%00").encode()
    )
    answer = await api.get(url, headers=bearer("admin"))
    assert answer.status_code in (400, 403, 404, 422, 501), answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("name", ["../../escape", "/etc/escape", "a/../../escape", "a\0b", ".."])
async def test_no_object_is_written_outside_its_store(
    api: httpx.AsyncClient, name: str, settings: Settings
) -> None:
    good = {"bucket": "hostile", "name": "good", "content": "aGk="}
    records = [good, good | {"name": name}]
    answer = await api.post("/api/store/objects", json=records, headers=bearer("admin"))
    assert answer.status_code == 207, answer.text
    assert [item["record"] for item in answer.json()["rejected"]] == [2]
    assert not list(settings.neo_data_dir.parent.glob("escape*"))


@pytest.fixture
async def slow(settings: Settings, polystore: Polystore) -> AsyncIterator[str]:
    """The API behind a real server, with a second for a body; its address."""
    app = create_app(protected(settings, neo_body_seconds=0.5), opened=shared(polystore))
    config = uvicorn.Config(
        app, port=0, log_level="critical", lifespan="on", http=patient(0.5), timeout_keep_alive=30
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    yield f"{host}:{port}"
    server.should_exit = True
    await serving


@pytest.mark.parametrize("path", ["/api/audit", "/api/store/networks"])
async def test_a_body_that_does_not_come_is_given_up(slow: str, path: str) -> None:
    host, _, port = slow.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    token = bearer("admin")["Authorization"]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: api\r\nAuthorization: {token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    )
    started = time.monotonic()
    writer.write(head.encode() + b'[{"a"')
    answer = await reader.read()  # to the end: the connection is closed as well
    assert answer.startswith(b"HTTP/1.1 408")
    assert 0.4 < time.monotonic() - started < 10
    writer.close()


FINE = b"GET /health HTTP/1.1\r\nHost: api\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /health HTTP/1.1\r\nHost:", b"G", FINE + b"GET /health HT"],
    ids=["nothing", "half a header", "half a method", "half of a second request"],
)
async def test_headers_that_do_not_come_are_given_up(slow: str, sent: bytes) -> None:
    host, _, port = slow.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    started = time.monotonic()
    writer.write(sent)
    answer = await reader.read()  # to the end: the connection is closed
    assert 0.4 < time.monotonic() - started < 10
    if sent.startswith(FINE):
        assert answer.startswith(b"HTTP/1.1 200")
    last = answer[answer.rindex(b"HTTP/1.1 ") :]
    head, _, body = last.partition(b"\r\n\r\n")
    assert last.startswith(b"HTTP/1.1 408")
    assert f"content-length: {len(body)}".encode() in head
    writer.close()


async def test_a_header_a_moment_does_not_keep_a_connection(slow: str) -> None:
    host, _, port = slow.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    started = time.monotonic()
    writer.write(b"GET /health HTTP/1.1\r\n")
    for number in range(4):
        writer.write(b"X-%d: a\r\n" % number)
        await asyncio.sleep(0.1)
    assert (await reader.read()).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started < 10
    writer.close()


async def test_an_idle_connection_between_requests_is_not_given_up(slow: str) -> None:
    host, _, port = slow.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for _ in range(2):
        writer.write(FINE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
        await reader.readexactly(length)
        await asyncio.sleep(0.7)
    writer.close()


async def test_a_stream_may_take_long_as_long_as_it_goes_on(
    settings: Settings, polystore: Polystore
) -> None:
    async with protected_api(settings, polystore, neo_body_seconds=0.2) as api:

        async def lines() -> AsyncIterator[bytes]:
            for _ in range(6):
                await asyncio.sleep(0.05)
                yield b"\n"

        headers = bearer("service") | {"content-type": "application/x-ndjson"}
        answer = await api.post("/api/store/networks", content=lines(), headers=headers)
    assert (answer.status_code, answer.json()["read"]) == (200, 0)


async def test_every_answer_carries_the_headers_that_keep_browsers_safe(
    api: httpx.AsyncClient,
) -> None:
    for path in ("/health", "/nowhere", "/api/store/networks", "/api/store/networks/x"):
        answer = await api.get(path, headers=bearer("reader"))
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert len(answer.headers.get_list("X-Request-Id")) == 1
        stored = answer.headers.get("Cache-Control")
        assert stored == ("no-store" if path.startswith("/api/") else None)
    page = await api.get("/docs", headers=bearer("reader"))
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


async def test_the_server_profile_tells_browsers_to_come_by_tls(
    settings: Settings, polystore: Polystore
) -> None:
    async with protected_api(settings, polystore, neo_profile="server") as api:
        answer = await api.get("/nowhere")
    assert "max-age" in answer.headers["Strict-Transport-Security"]


@pytest.mark.parametrize("given", ["a b", "x" * 200, "a;b", "é", ""])
async def test_a_request_id_that_is_none_is_replaced(api: httpx.AsyncClient, given: str) -> None:
    answer = await api.get("/health", headers=[(b"x-request-id", given.encode())])
    assert answer.headers["X-Request-Id"] != given
    kept = await api.get("/health", headers={"X-Request-Id": "abc-1"})
    assert kept.headers["X-Request-Id"] == "abc-1"


async def test_pages_of_the_origins_that_are_named_may_call(
    settings: Settings, polystore: Polystore
) -> None:
    origin = "https://app.example.com"
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    async with protected_api(settings, polystore, neo_cors_origins=origin) as api:
        allowed = await api.options("/api/audit", headers=asked | {"Origin": origin})
        assert allowed.headers["Access-Control-Allow-Origin"] == origin
        foreign = await api.options(
            "/api/audit", headers=asked | {"Origin": "https://evil.example"}
        )
        assert "Access-Control-Allow-Origin" not in foreign.headers
        answer = await api.get("/api/auth/me", headers={"Origin": origin})
        assert answer.status_code == 401
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origins", ["app.example.com", "https://a.example/", "*"])
def test_origins_that_are_none_are_refused_at_the_start(settings: Settings, origins: str) -> None:
    with pytest.raises(ConfigError, match="NEO_CORS_ORIGINS"):
        create_app(settings.model_copy(update={"neo_cors_origins": origins}))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8003", 200),
        ("127.0.0.1:8003", 200),
        ("[::1]:8003", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("[::2]:8003", 421),
        ("", 421),
    ],
)
async def test_only_trusted_names_are_answered(
    settings: Settings, polystore: Polystore, host: str, status: int
) -> None:
    hosts = "localhost,127.0.0.1,[::1]"
    named = settings.model_copy(update={"neo_trusted_hosts": hosts})
    async with client_of(named, polystore) as api:
        answer = await api.get("/openapi.json", headers={"Host": host})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://api", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_without_tokens_no_page_of_another_site_changes_anything(
    settings: Settings, polystore: Polystore, headers: dict[str, str], status: int
) -> None:
    async with client_of(settings, polystore) as api:
        answer = await api.post("/api/store/networks", json=[], headers=headers)
        assert answer.status_code == status
        assert (await api.get("/api/store/networks", headers=headers)).status_code == 200


NAMES = [
    'a"; filename="evil.exe',
    "a\r\nSet-Cookie: x=1",
    "../../etc/passwd",
    "..\\..\\evil.bat",
    "\0",
    "...",
    "",
    "日本語.txt",
    "a%0d%0ab",
    "\u202egpj.exe",
    "x" * 1000,
    "\ud800",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_file_name_breaks_out_of_its_header(name: str) -> None:
    [(field, value)] = attachment(name).items()
    assert field == "Content-Disposition"
    assert value.isascii()
    assert value.isprintable()
    plain, whole = value.removeprefix('attachment; filename="').split("\"; filename*=UTF-8''")
    assert plain
    for text in (plain, unquote(whole)):
        assert not set(text) & set('"\\/\r\n\0;=') - set(";=")
        assert not text.startswith(".")
        assert len(text) <= 200
    assert '"' not in plain


async def test_other_protocols_are_not_let_in(api: httpx.AsyncClient) -> None:
    sent: list[object] = []
    scope = {"type": "websocket", "path": "/api/store/networks", "headers": [], "subprotocols": []}

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    await api.app(scope | {"query_string": b""}, receive, send)  # type: ignore[attr-defined]
    assert not any("accept" in str(message) for message in sent)
