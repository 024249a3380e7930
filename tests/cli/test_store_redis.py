"""`store redis`: figures, key families, and emptying one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.diagnostics import warnings_of
from neo_polystore.stores.redis.store import RedisStore
from tests.cli.conftest import Cli

KEYS = 5


@pytest.fixture
async def namespace(redis_config: RedisConfig) -> AsyncIterator[str]:
    """A namespace with some networks and one session in it."""
    name = f"{uuid4().hex}:"
    store = RedisStore(redis_config.model_copy(update={"namespace": name}))
    await store.connect()
    cache: Any = store.port("cache")
    for number in range(KEYS):
        await cache.set(f"network:{number}", b"x" * 100, ttl=60)
    await cache.set("session:a", b"x", ttl=60)
    yield name
    await store.close()


def test_the_status_shows_memory_and_the_eviction_policy(here: Cli) -> None:
    answer = here("store", "redis", "status", "--json")
    assert answer.code == 0
    [figures] = answer.json["servers"].values()
    assert figures["used_memory"] > 0
    assert "maxmemory_policy" in figures
    assert "used memory" in here("store", "redis", "status").out


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 100}, "evicts sessions and limits"),
        ({"maxmemory_policy": "volatile-ttl", "maxmemory": 0}, "would evict"),
        ({"maxmemory": 100, "used_memory": 95}, "90 percent"),
        ({"evicted_keys": 3}, "3 keys were evicted"),
    ],
)
def test_what_endangers_sessions_and_limits_is_warned_of(
    figures: dict[str, Any], words: str
) -> None:
    [warning] = warnings_of(figures)
    assert words in warning


def test_a_server_that_evicts_nothing_is_not_warned_of() -> None:
    assert warnings_of({"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 9}) == []


def test_keys_are_counted_by_family(here: Cli, namespace: str) -> None:
    answer = here(
        "store", "redis", "keys", "--budget", "100000", "--json", NEO_REDIS_NAMESPACE=namespace
    )
    found = {row["family"]: row for row in answer.json["families"]}
    assert answer.json["complete"]
    assert (found["network"]["keys"], found["session"]["keys"]) == (KEYS, 1)
    assert found["network"]["mean_bytes"] > 100
    assert 0 < found["network"]["mean_left"] <= 60


def test_a_small_budget_makes_a_sample_that_says_so(here: Cli, namespace: str) -> None:
    answer = here(
        "store", "redis", "keys", "--budget", "2", "--json", NEO_REDIS_NAMESPACE=namespace
    )
    assert answer.code == 0
    assert answer.json["complete"] or answer.json["seen"] < answer.json["total"]


def test_a_flush_removes_one_family_and_a_dry_run_nothing(here: Cli, namespace: str) -> None:
    def flush(family: str, *options: str) -> Any:
        return here(
            "store", "redis", "flush", family, *options, "--json", NEO_REDIS_NAMESPACE=namespace
        ).json

    assert flush("network", "--dry-run") == {"family": "network", "keys": KEYS, "dry_run": True}
    assert flush("network") == {"family": "network", "keys": KEYS, "dry_run": False}
    assert flush("network")["keys"] == 0
    assert flush("session", "--dry-run")["keys"] == 1


def test_a_flush_of_an_unknown_family_names_those_there_are(here: Cli) -> None:
    answer = here("store", "redis", "flush", "nothing")
    assert answer.code != 0
    assert "session" in answer.err
