"""Who a request comes from, as far as rate limits are concerned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

from neo_polystore.auth.principal import Principal
from neo_polystore.errors import ConfigError

Network = IPv4Network | IPv6Network
Identify = Callable[[Scope], str]
"""Answers a name for the client of a request; the same client has the same name every time."""

MAX_HOPS = 32


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks or addresses separated by commas; ConfigError for anything else."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(
            f"NEO_TRUSTED_PROXIES: {error}; expected networks such as 10.0.0.0/8, ::1"
        ) from None


def client_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """The address that a client is told apart by: an IPv6 client is known by his /64, which is
    what one customer is given (RFC 6177)."""
    return _grouped(own_address(scope, trusted))


def own_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """The address of the client: of the peer, or of whoever stands before our own proxies.

    `X-Forwarded-For` is read from its right end, where our proxies write, only while the address
    to the right is a trusted proxy's; whatever a client wrote into it himself is never reached.
    """
    peer = scope.get("client")
    address: str = peer[0] if peer else "local"
    forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
    for hop in reversed(forwarded[-MAX_HOPS:]):
        if not _is_trusted(address, trusted) or not _is_address(hop.strip()):
            break
        address = hop.strip()
    return address


def by_address(trusted: Sequence[Network]) -> Identify:
    """Tell clients apart by their addresses."""
    return lambda scope: client_address(scope, trusted)


def by_principal(trusted: Sequence[Network]) -> Identify:
    """Tell clients apart by who they have proven to be; those who have not, by their addresses."""

    def identify(scope: Scope) -> str:
        principal: Principal | None = scope["state"].get("principal")
        if principal is None or not principal.is_proven:
            return client_address(scope, trusted)
        return f"{principal.scope.tenant}:{principal.scope.user}"

    return identify


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    if not trusted or not _is_address(address):
        return False
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in network for network in trusted if network.version == found.version)


def _grouped(address: str) -> str:
    if not _is_address(address):
        return address
    found = ip_address(address)
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found) >> 64 << 64, 64)))
