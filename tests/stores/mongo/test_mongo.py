"""What is particular to MongoDB and needs no server: unreachable ones, errors, filters."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from neo_polystore.addresses import ServerAddresses
from neo_polystore.errors import ConfigError, UnavailableError, UsageError
from neo_polystore.records.documents import document_models
from neo_polystore.records.query import Filter, Query
from neo_polystore.settings import Settings

pytest.importorskip("pymongo", reason="the extra `mongo` is not installed")

from bson.int64 import Int64
from pymongo import errors as driver

from neo_polystore.stores.mongo.conditions import conditions
from neo_polystore.stores.mongo.config import MongoConfig
from neo_polystore.stores.mongo.errors import translate
from neo_polystore.stores.mongo.store import MongoStore
from neo_polystore.stores.mongo.writing import encode, problem_of

AUDIT = document_models()["audit_logs"]
CONTRACTS = document_models()["contract_metadata"]


def store(url: str) -> MongoStore:
    """A store that waits only briefly."""
    return MongoStore(MongoConfig(url=SecretStr(url), database="none", connect_timeout=0.2))


async def test_an_unreachable_server_is_unavailable(refused: None) -> None:
    away = store("mongodb://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="cannot reach the server"):
        await away.connect()
    await away.close()


async def test_an_unreachable_server_is_unhealthy(refused: None) -> None:
    away = store("mongodb://127.0.0.1:1")
    health = await away.health()
    await away.close()
    assert (health.status, "cannot reach" in health.detail) == ("unhealthy", True)


async def test_a_store_that_is_not_connected_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="not connected"):
        store("mongodb://127.0.0.1:1").port("audit_logs")


async def test_a_connection_string_that_is_none_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="connection string"):
        await store("postgres://nowhere").connect()


async def test_a_certificate_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    config = MongoConfig(url=SecretStr("mongodb://127.0.0.1:1"), database="x", tls_ca_file=missing)
    with pytest.raises(ConfigError, match=r"no file .*ca\.pem"):
        await MongoStore(config).connect()


def test_the_environment_says_how_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"MONGO_TLS": "true", "MONGO_MAX_POOL_SIZE": "7", "MONGO_MIN_POOL_SIZE": "2"}
    for name, value in {**given, "DB_COMMAND_TIMEOUT": "3"}.items():
        monkeypatch.setenv(name, value)
    config = ServerAddresses(Settings(_env_file=None))._mongo()  # type: ignore[call-arg]
    assert config.tls_options() == {"tls": True}
    assert (config.max_connections, config.min_connections) == (7, 2)
    assert config.command_timeout == 3


async def test_closing_twice_is_harmless() -> None:
    unopened = store("mongodb://127.0.0.1:1")
    await unopened.close()
    await unopened.close()


def test_the_driver_is_imported_only_when_the_engine_is() -> None:
    code = (
        "import sys, neo_polystore.registry, neo_polystore.stores.jsonb.store;"
        " sys.exit('pymongo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_values_stand_only_under_operators() -> None:
    filters = (Filter("user_id", "eq", "$ne"), Filter("open.a", "ge", "5"))
    assert conditions(AUDIT, Query(filters=filters)) == {
        "$and": [
            {"user_id": {"$eq": "$ne"}},
            {"$or": [{"open.a": {"$gte": "5"}}, {"open.a": {"$gte": 5}}]},
        ]
    }


def test_a_dictionary_is_no_value() -> None:
    with pytest.raises(UsageError):
        conditions(AUDIT, Query(filters=(Filter("user_id", "eq", {"$gt": ""}),)))


def test_a_prefix_is_no_pattern() -> None:
    query = Query(filters=(Filter("user_id", "prefix", "a.*"),))
    assert conditions(AUDIT, query) == {"$and": [{"user_id": {"$regex": "^a\\.\\*"}}]}


def test_times_become_bounds() -> None:
    time = datetime(2024, 1, 1, tzinfo=UTC)
    assert conditions(AUDIT, Query(since=time, until=time)) == {
        "$and": [{"timestamp": {"$gte": time}}, {"timestamp": {"$lt": time}}]
    }


def test_a_taken_unique_value_is_named_as_in_every_engine() -> None:
    problem = problem_of(
        CONTRACTS.collection,
        {
            "code": 11000,
            "errmsg": "E11000 duplicate key error collection: db.contract_metadata"
            ' index: network_1_address_1 dup key: { network: "a", address: "b" }',
        },
    )
    assert (problem.field, problem.reason) == (
        "network, address",
        "breaks unique index network_1_address_1 of contract_metadata: another document has these",
    )


def test_longs_are_written_as_wide_as_the_validator_wants() -> None:
    rule: dict[str, Any] = {"properties": {"a": {"bsonType": "long"}, "b": {"bsonType": "int"}}}
    body = encode({"a": 1, "b": 1, "c": 1}, rule)
    assert [type(value) for value in body.values()] == [Int64, int, int]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (driver.ServerSelectionTimeoutError("no servers, Timeout: 1s"), "UnavailableError"),
        (driver.AutoReconnect("reset"), "UnavailableError"),
        (driver.OperationFailure("auth failed", 18), "ConfigError"),
        (driver.OperationFailure("too slow", 50), "UnavailableError"),
        (driver.NotPrimaryError("not primary"), "UnavailableError"),
        (driver.DuplicateKeyError("E11000", 11000), "ConflictError"),
        (driver.WriteError("failed validation", 121), "ValidationError"),
        (driver.DocumentTooLarge("too large"), "ValidationError"),
        (driver.OperationFailure("else", 2), "PolystoreError"),
    ],
)
def test_driver_errors_become_ours(error: Exception, expected: str) -> None:
    assert type(translate(error, operation="x")).__name__ == expected


async def test_its_ports_are_there_while_the_server_is_not(refused: None) -> None:
    away = store("mongodb://127.0.0.1:1")
    with pytest.raises(UnavailableError):
        await away.connect()
    with pytest.raises(UnavailableError):
        await away.port("audit_logs").get("any")
    await away.close()
