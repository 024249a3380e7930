"""The servers of docker-compose.yml as containers, by testcontainers, for the same variables."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from tools.servers.running import NoServerError, Running

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


@lru_cache
def lacking() -> str | None:
    """Why there are no containers here; None where there are."""
    docker = shutil.which("docker")
    if docker is None:
        return "Docker is not installed"
    try:
        done = subprocess.run([docker, "info"], capture_output=True, timeout=20, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return "Docker does not answer"
    if done.returncode:
        return "there is no Docker engine to talk to"
    if find_spec("testcontainers") is None:
        return "testcontainers is not installed: pip install 'testcontainers>=4'"
    return None


def image(service: str) -> str:
    """The image that docker-compose.yml pins for a service."""
    found: str = yaml.safe_load(COMPOSE.read_text())["services"][service]["image"]
    return found


@contextmanager
def container(
    service: str,
    port: int,
    variable: str,
    url: Callable[[str], str],
    ready: str,
    *,
    command: str | None = None,
    **environment: str,
) -> Iterator[Running]:
    """A service's image until the end of the block, ready when its log says so.

    `url` makes the address from `host:port`. The suites' passwords are made by `url`'s maker.
    """
    if (reason := lacking()) is not None:
        raise NoServerError(reason)
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    made: Any = DockerContainer(image(service)).with_exposed_ports(port)
    for name, value in environment.items():
        made = made.with_env(name, value)
    if command is not None:
        made = made.with_command(command)
    with made:
        wait_for_logs(made, ready, timeout=120)
        address = f"{made.get_container_host_ip()}:{made.get_exposed_port(port)}"
        yield Running(image(service), {variable: url(address)})


def postgres(service: str = "postgres", variable: str = "NEO_TEST_POSTGRES_URL") -> Any:
    """PostgreSQL, or TimescaleDB under another variable."""
    password = secrets.token_hex(16)
    return container(
        service,
        5432,
        variable,
        lambda at: f"postgresql://postgres:{password}@{at}/postgres",
        r"init process complete[\s\S]*ready to accept connections",
        POSTGRES_PASSWORD=password,
    )


def redis() -> Any:
    password = secrets.token_hex(16)
    return container(
        "redis",
        6379,
        "NEO_TEST_REDIS_URL",
        lambda at: f"redis://:{password}@{at}",
        "Ready to accept connections",
        command=f"redis-server --requirepass {password}",
    )


def mongo() -> Any:
    return container(
        "mongodb",
        27017,
        "NEO_TEST_MONGO_URL",
        lambda at: f"mongodb://{at}/?directConnection=true",
        "Waiting for connections",
    )


def s3() -> Any:
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    return container(
        "s3",
        7070,
        "NEO_TEST_S3_URL",
        lambda at: f"http://{key}:{secret}@{at}",
        "VERSITY|listening|Running",
        command="--port :7070 posix /tmp/vgw",
        ROOT_ACCESS_KEY=key,
        ROOT_SECRET_KEY=secret,
    )


def clickhouse() -> Any:
    password = secrets.token_hex(16)
    return container(
        "clickhouse",
        8123,
        "NEO_TEST_CLICKHOUSE_URL",
        lambda at: f"http://default:{password}@{at}",
        "Ready for connections|Logging",
        CLICKHOUSE_PASSWORD=password,
        CLICKHOUSE_DEFAULT_ACCESS_MANAGEMENT="1",
    )


def elasticsearch() -> Any:
    password = secrets.token_hex(16)
    return container(
        "elasticsearch",
        9200,
        "NEO_TEST_ELASTICSEARCH_URL",
        lambda at: f"http://elastic:{password}@{at}",
        r"\bstarted\b",
        ELASTIC_PASSWORD=password,
        ES_JAVA_OPTS="-Xms512m -Xmx512m",
        **{
            "discovery.type": "single-node",
            "xpack.security.enabled": "true",
            "xpack.security.http.ssl.enabled": "false",
        },
    )
