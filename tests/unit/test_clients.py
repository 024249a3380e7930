"""Who a request comes from: peers, proxies that are trusted, and forged headers."""

from __future__ import annotations

import pytest

from neo_polystore.api.clients import client_address, parse_networks
from neo_polystore.errors import ConfigError

TRUSTED = "10.0.0.0/8, 2001:db8:ffff::/48"


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "client"),
    [
        ("192.0.2.1", [], "", "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "", "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], TRUSTED, "192.0.2.1"),
        ("10.1.1.1", ["198.51.100.7"], TRUSTED, "198.51.100.7"),
        ("10.1.1.1", ["1.1.1.1, 198.51.100.7"], TRUSTED, "198.51.100.7"),
        ("10.1.1.1", ["1.1.1.1", "198.51.100.7, 10.2.2.2"], TRUSTED, "198.51.100.7"),
        ("10.1.1.1", ["10.3.3.3, 10.2.2.2"], TRUSTED, "10.3.3.3"),
        ("10.1.1.1", ["nonsense"], TRUSTED, "10.1.1.1"),
        ("10.1.1.1", ["198.51.100.7, unknown"], TRUSTED, "10.1.1.1"),
        ("10.1.1.1", [""], TRUSTED, "10.1.1.1"),
        ("10.1.1.1", ["," * 50_000 + "198.51.100.7"], TRUSTED, "198.51.100.7"),
        ("2001:db8:1:2:3::4", [], "", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:9::9", [], "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", [], "", "192.0.2.1"),
        ("::ffff:10.1.1.1", ["198.51.100.7"], TRUSTED, "198.51.100.7"),
        ("2001:db8:ffff::1", ["198.51.100.7"], TRUSTED, "198.51.100.7"),
        (None, [], TRUSTED, "local"),
    ],
)
def test_the_client_is_whoever_stands_before_our_own_proxies(
    peer: str | None, forwarded: list[str], trusted: str, client: str
) -> None:
    scope = {
        "type": "http",
        "client": (peer, 1) if peer else None,
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
    }
    assert client_address(scope, parse_networks(trusted)) == client


@pytest.mark.parametrize("text", ["10.0.0.0/33", "proxy.example.org", "10.0.0.1/8"])
def test_networks_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="NEO_TRUSTED_PROXIES"):
        parse_networks(text)
