"""Whether what is said to a server can be read or changed on its way: verified TLS, or a refusal.

In the server profile every store on another machine is talked to by TLS whose certificate is
verified (Python's own contexts take TLS 1.2 and later), unless NEO_PLAINTEXT_HOSTS names its host.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from neo_polystore.errors import ConfigError
from neo_polystore.settings import Settings, listed


@dataclass(frozen=True, slots=True)
class Way:
    """A host, whether the way there is safe, and the setting that makes it so."""

    host: str
    is_safe: bool
    cure: str


def require_tls(settings: Settings, engine: str) -> None:
    """Raise ConfigError where an engine would be talked to in the clear and nobody said it may."""
    allowed = {host.lower() for host in listed(settings.neo_plaintext_hosts)}
    for way in _ways(settings, engine):
        if not (way.is_safe or _is_here(way.host) or way.host.lower() in allowed):
            raise ConfigError(
                f"{way.host} would be talked to without verified TLS: set {way.cure}, or name the"
                " host in NEO_PLAINTEXT_HOSTS where nobody else is on the way",
                store=engine,
            )


def _ways(settings: Settings, engine: str) -> Iterator[Way]:
    match engine:
        case "postgres" | "jsonb" | "event_store":
            for host in (settings.postgres_host, settings.postgres_direct_host):
                if host is not None:
                    yield _postgres(settings, host)
        case "timescale":
            yield _postgres(settings, settings.timescale_host or settings.postgres_host)
        case "redis":
            yield Way(settings.redis_host, settings.redis_ssl, "REDIS_SSL=true")
        case "mongo":
            yield from _mongo(settings)
        case "s3":
            if settings.s3_endpoint_url is not None:  # without one it is AWS, by https
                address = urlsplit(settings.s3_endpoint_url)
                safe = address.scheme == "https"
                yield Way(address.hostname or "", safe, "S3_ENDPOINT_URL to https")
        case "clickhouse":
            secure = settings.clickhouse_secure
            yield Way(settings.clickhouse_host, secure, "CLICKHOUSE_SECURE=true")
        case "elasticsearch":
            if settings.elasticsearch_url is not None:
                address = urlsplit(settings.elasticsearch_url.get_secret_value())
                safe = address.scheme == "https"
                yield Way(address.hostname or "", safe, "ELASTICSEARCH_URL to https")


def _postgres(settings: Settings, host: str) -> Way:
    safe = settings.postgres_sslmode in ("verify-ca", "verify-full")
    return Way(host, safe, "POSTGRES_SSLMODE=verify-full")


def _mongo(settings: Settings) -> Iterator[Way]:
    address = urlsplit(settings.mongo_url.get_secret_value())
    options = {name.lower(): value.lower() for name, value in parse_qsl(address.query)}
    asked = options.get("tls", options.get("ssl", ""))
    tls = settings.mongo_tls
    if tls is None:
        tls = asked == "true" or (address.scheme == "mongodb+srv" and asked != "false")
    blind = ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames")
    safe = tls and not any(options.get(name) == "true" for name in blind)
    for host in address.netloc.rpartition("@")[2].split(","):
        name = host.partition("]")[0].strip("[") if host.startswith("[") else host.split(":")[0]
        yield Way(name, safe, "MONGO_TLS=true")


def _is_here(host: str) -> bool:
    """Whether the host is this machine: loopback, or a socket's folder."""
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
