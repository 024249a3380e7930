"""The keys of an identity provider: cached, rotated, and read no more often than needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from neo_polystore.auth.jwks import PAUSE, STALE, KeySet
from neo_polystore.errors import ConfigError, UnavailableError
from tests.auth.signing import key_set, public


class Provider:
    """Serves a key set on loopback and counts how often it is asked."""

    def __init__(self) -> None:
        self.text = key_set(public("EdDSA", "first"))
        self.status = 200
        self.asked = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                self.send_response(provider.status)
                if provider.status == 302:
                    self.send_header("Location", provider.address)
                self.end_headers()
                self.wfile.write(provider.text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/jwks.json"


class Clock:
    """A clock that is moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(provider: Provider, clock: Clock) -> KeySet:
    return KeySet(provider.address, keep=300, clock=clock)


async def test_keys_are_read_once_for_all_who_ask(keys: KeySet, provider: Provider) -> None:
    found = await asyncio.gather(*(keys.key("first", "EdDSA") for _ in range(50)))
    assert all(found)
    assert provider.asked == 1


async def test_a_new_key_is_known_at_once(keys: KeySet, provider: Provider, clock: Clock) -> None:
    assert await keys.key("first", "EdDSA")
    provider.text = key_set(public("EdDSA", "first"), public("EdDSA", "second"))
    clock.now += PAUSE
    assert await keys.key("second", "EdDSA")
    assert (provider.asked, keys.generation) == (2, 2)


async def test_unknown_ids_make_nobody_read_more_often_than_once_in_a_pause(
    keys: KeySet, provider: Provider, clock: Clock
) -> None:
    assert await keys.key("first", "EdDSA")
    for number in range(100):
        assert await keys.key(f"unknown-{number}", "EdDSA") is None
    assert provider.asked == 1
    clock.now += PAUSE
    for number in range(100):
        assert await keys.key(f"unknown-{number}", "EdDSA") is None
    assert provider.asked == 2


async def test_a_key_that_was_taken_away_is_used_no_more(
    keys: KeySet, provider: Provider, clock: Clock
) -> None:
    assert await keys.key("first", "EdDSA")
    provider.text = key_set(public("EdDSA", "second"))
    clock.now += 301
    assert await keys.key("first", "EdDSA") is None


async def test_while_the_provider_is_away_the_keys_serve_for_a_day(
    keys: KeySet, provider: Provider, clock: Clock
) -> None:
    assert await keys.key("first", "EdDSA")
    provider.status = 500
    clock.now += 400
    assert await keys.key("first", "EdDSA")
    clock.now += STALE
    with pytest.raises(UnavailableError):
        await keys.key("first", "EdDSA")
    provider.status = 200
    clock.now += PAUSE
    assert await keys.key("first", "EdDSA")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"keys": 5}', '{"keys": []}', "[" * 100_000])
async def test_what_is_no_key_set_is_not_taken(keys: KeySet, provider: Provider, text: str) -> None:
    provider.text = text
    with pytest.raises(UnavailableError):
        await keys.key("first", "EdDSA")


async def test_nobody_is_followed_elsewhere(keys: KeySet, provider: Provider) -> None:
    provider.status = 302
    with pytest.raises(UnavailableError):
        await keys.key("first", "EdDSA")
    assert provider.asked == 1


async def test_without_an_id_only_the_one_key_of_its_algorithm_will_do(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(key_set(public("EdDSA", "a"), public("RS256", "b"), public("RS256", "c")))
    keys = KeySet(str(file))
    assert await keys.key(None, "EdDSA")
    assert await keys.key(None, "RS256") is None


@pytest.mark.parametrize("place", ["http://login.example.com/keys", "ftp://a/b", "/no/such/file"])
def test_a_place_that_is_not_safe_is_refused_at_the_start(place: str) -> None:
    with pytest.raises(ConfigError, match="NEO_JWT_JWKS"):
        KeySet(place)
