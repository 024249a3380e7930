"""No store on another machine is talked to in the clear, unless somebody said it may."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from neo_polystore.addresses import ServerAddresses
from neo_polystore.errors import ConfigError
from neo_polystore.settings import Settings

FAR = "db.example.org"


def settings(**changes: Any) -> Settings:
    given = {"neo_profile": "server", "postgres_password": SecretStr("x"), **changes}
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]


def mongo(rest: str) -> dict[str, Any]:
    return {"mongo_url": SecretStr(f"mongodb://u:p@{FAR}{rest}")}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("postgres", {"postgres_host": FAR}, "POSTGRES_SSLMODE=verify-full"),
    ("postgres", {"postgres_host": FAR, "postgres_sslmode": "disable"}, "POSTGRES_SSLMODE"),
    ("event_store", {"postgres_host": FAR, "postgres_sslmode": "require"}, "POSTGRES_SSLMODE"),
    ("postgres", {"postgres_direct_host": FAR}, "POSTGRES_SSLMODE"),
    ("timescale", {"timescale_host": FAR}, "POSTGRES_SSLMODE"),
    ("redis", {"redis_host": FAR}, "REDIS_SSL"),
    ("redis", {"redis_host": "10.0.0.5"}, "REDIS_SSL"),
    ("mongo", mongo("/x"), "MONGO_TLS"),
    ("mongo", mongo(",other.example.org:27018/x?tls=false"), "MONGO_TLS"),
    ("mongo", mongo("/x?tls=true&tlsAllowInvalidCertificates=true"), "MONGO_TLS"),
    ("s3", {"s3_endpoint_url": f"http://{FAR}:9000"}, "https"),
    ("clickhouse", {"clickhouse_host": FAR}, "CLICKHOUSE_SECURE"),
    ("elasticsearch", {"elasticsearch_url": SecretStr(f"http://{FAR}:9200")}, "https"),
]
TAKEN: list[tuple[str, dict[str, Any]]] = [
    ("postgres", {"postgres_host": FAR, "postgres_sslmode": "verify-full"}),
    ("postgres", {"postgres_host": "127.0.0.1", "postgres_sslmode": "disable"}),
    ("postgres", {"postgres_host": "/var/run/postgresql"}),
    ("timescale", {"timescale_host": FAR, "postgres_sslmode": "verify-ca"}),
    ("redis", {"redis_host": FAR, "redis_ssl": True}),
    ("redis", {"redis_host": "::1"}),
    ("mongo", mongo("/x?tls=true")),
    ("mongo", {**mongo("/x"), "mongo_tls": True}),
    ("mongo", {"mongo_url": SecretStr("mongodb://[::1]:27017,127.0.0.1/x")}),
    ("s3", {"s3_endpoint_url": None}),
    ("s3", {"s3_endpoint_url": f"https://{FAR}"}),
    ("clickhouse", {"clickhouse_host": FAR, "clickhouse_secure": True}),
    ("elasticsearch", {"elasticsearch_url": SecretStr(f"https://{FAR}:9200")}),
]


@pytest.mark.parametrize(("engine", "changes", "cure"), REFUSED)
async def test_plaintext_to_another_machine_is_refused_until_its_host_is_named(
    engine: str, changes: dict[str, Any], cure: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        await ServerAddresses(settings(**changes)).config(engine)
    assert cure in refused.value.message
    assert "NEO_PLAINTEXT_HOSTS" in refused.value.message
    named = f"{FAR.upper()},10.0.0.5,other.example.org"
    await ServerAddresses(settings(**changes, neo_plaintext_hosts=named)).config(engine)


@pytest.mark.parametrize(("engine", "changes"), TAKEN)
async def test_verified_tls_and_this_machine_are_taken(
    engine: str, changes: dict[str, Any]
) -> None:
    await ServerAddresses(settings(**changes)).config(engine)
