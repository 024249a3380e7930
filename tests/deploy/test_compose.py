"""The Compose files: what Compose makes of them, and what an operator relies on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from neo_polystore.errors import ConfigError
from neo_polystore.settings import Settings
from neo_polystore.transport import require_tls
from tests.deploy.renderer import ROOT, compose, refusal, secrets

FILES = (
    ("docker-compose.yml",),
    ("docker-compose.yml", "docker-compose.tls.yml"),
    ("docker-compose.postgresql.yml",),
    ("docker-compose.sharded.yml",),
)
NAMES = sorted({name for names in FILES for name in names})
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:?[-?])([^}]*))?\}")
DIGIT_VERSION = re.compile(r"\d+\.\d+")
WITHOUT_HEALTH = {"mongodb-exporter"}
"""Images that have no program to ask with; Prometheus's own `up` tells of them."""
UNREAD_ROOT = {"elasticsearch", "pgadmin", "redis-commander"}
"""Images whose start script writes beside its program."""


@lru_cache
def project(files: tuple[str, ...]) -> dict[str, Any]:
    tls = {"NEO_TLS_DIR": str(ROOT / "deploy"), "NEO_TLS_GID": "1000"}
    return compose(*files, environment={**secrets(), **tls})


def services() -> Iterator[tuple[str, dict[str, Any]]]:
    for files in FILES:
        yield from project(files)["services"].items()


def source(name: str) -> str:
    """A file without its comments."""
    lines = (ROOT / name).read_text().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


@pytest.mark.parametrize("files", FILES, ids="+".join)
def test_compose_takes_the_files(files: tuple[str, ...]) -> None:
    assert project(files)["services"]


@pytest.mark.parametrize(
    "names",
    [
        "postgres timescaledb redis mongodb s3 clickhouse data_storage_service scheduler",
        "elasticsearch pgbouncer postgres-replica prometheus grafana pgadmin redis-commander",
    ],
)
def test_every_service_of_the_specification_is_there(names: str) -> None:
    assert set(names.split()) <= set(project(FILES[0])["services"])


def test_only_the_stores_and_the_platform_start_without_a_profile() -> None:
    started = {
        name for name, one in project(FILES[0])["services"].items() if not one.get("profiles")
    }
    once = {"objects-volume", "roles", "timescaledb-roles", "mongodb-init", "migrate"}
    stores = {"postgres", "timescaledb", "redis", "mongodb", "s3", "clickhouse"}
    assert started == once | stores | {"data_storage_service", "scheduler"}


def test_every_image_is_pinned_by_version() -> None:
    for name, service in services():
        tag = service["image"].rpartition(":")[2]
        assert DIGIT_VERSION.search(tag), f"{name}: {service['image']}"
        assert "latest" not in service["image"], name


def test_every_service_is_checked_or_ends_by_itself() -> None:
    for name, service in services():
        if service["restart"] == "no" or name in WITHOUT_HEALTH:
            continue
        inherited = name == "redis-commander"  # the image checks itself
        assert inherited or service.get("healthcheck", {}).get("test"), name


def test_every_service_is_bound() -> None:
    for name, service in services():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name


def test_no_service_is_root_or_can_become_it() -> None:
    for name, service in services():
        assert re.match(r"[1-9]\d*:", service["user"]), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_every_root_is_read_only_but_where_an_image_cannot() -> None:
    writable = {name for name, service in services() if not service.get("read_only")}
    assert writable == UNREAD_ROOT


def test_nothing_is_published_beyond_this_machine() -> None:
    for name, service in services():
        for port in service.get("ports", ()):
            assert port["host_ip"] == "127.0.0.1", f"{name}: {port}"


def test_every_mounted_file_is_there() -> None:
    for name, service in services():
        for mount in service.get("volumes", ()):
            if mount["type"] == "bind":
                assert Path(mount["source"]).exists(), f"{name}: {mount['source']}"


def test_every_setting_that_is_given_is_one() -> None:
    others = re.compile(r"NEO_ROLE_PASSWORD_\w+|PG\w+|SSL_CERT_FILE|AWS_CA_BUNDLE")
    known = {name.upper() for name in Settings.model_fields}
    for name, service in services():
        if not service["image"].startswith("neo-polystore:"):
            continue
        for variable in service.get("environment") or {}:
            assert variable in known or others.fullmatch(variable), f"{name}: {variable}"


@pytest.mark.parametrize("files", FILES[:2], ids="+".join)
def test_no_store_is_talked_to_in_the_clear_but_those_that_are_named(
    files: tuple[str, ...],
) -> None:
    seen = 0
    for name, service in project(files)["services"].items():
        given = service.get("environment") or {}
        if "NEO_PLAINTEXT_HOSTS" not in given:
            assert not service["image"].startswith("neo-polystore:") or "CLICK" not in str(given)
            continue
        known = {key.lower(): value for key, value in given.items()}
        fields = {key: value for key, value in known.items() if key in Settings.model_fields}
        settings = Settings(_env_file=None, **fields)  # type: ignore[call-arg]
        for engine in ("postgres", "event_store", "timescale", "redis", "mongo", "s3"):
            require_tls(settings, engine)
            if len(files) > 1:
                continue
            with pytest.raises(ConfigError):
                require_tls(settings.model_copy(update={"neo_plaintext_hosts": ""}), engine)
        require_tls(settings, "clickhouse")
        seen += 1
        assert (given["NEO_PLAINTEXT_HOSTS"] == "clickhouse,elasticsearch") == (len(files) > 1), (
            name
        )
    assert seen >= 4


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_has_a_default_outside_of_dev(name: str) -> None:
    development = {"PGADMIN_PASSWORD", "REDIS_COMMANDER_PASSWORD"}
    for variable, operator, _ in VARIABLE.findall(source(name)):
        if "PASSWORD" in variable or "SECRET" in variable or "KEY" in variable:
            assert "-" not in operator or variable in development, variable


def test_every_default_password_is_of_a_development_service() -> None:
    for name, service in yaml.safe_load(source("docker-compose.yml"))["services"].items():
        text = str(service)
        if "dev-only" in text:
            assert service["profiles"] == ["dev"], name


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_in_the_example(name: str) -> None:
    example = (ROOT / ".env.example").read_text()
    for variable, _, _ in VARIABLE.findall(source(name)):
        assert re.search(rf"^# ?{variable}=|^{variable}=", example, re.MULTILINE), variable


def test_no_secret_of_an_empty_environment_is_made_up() -> None:
    assert "run scripts/make-secrets.sh" in refusal("docker-compose.yml", environment={})


@pytest.mark.parametrize("missing", sorted(secrets()))
def test_every_missing_secret_is_named(missing: str) -> None:
    given = {name: value for name, value in secrets().items() if name != missing}
    sharded = missing in ("CORE_DB_PASSWORD", "BLOCKCHAIN_DB_PASSWORD", "ANALYTICS_DB_PASSWORD")
    file = "docker-compose.sharded.yml" if sharded else "docker-compose.yml"
    assert missing in refusal(file, environment=given)


def test_stores_that_are_not_published_cannot_leave_their_network() -> None:
    model = project(FILES[0])
    assert model["networks"]["data"]["internal"] is True
    for store in ("timescaledb", "mongodb", "s3", "clickhouse"):
        assert list(model["services"][store]["networks"]) == ["data"]


def test_with_tls_every_client_of_postgresql_verifies_the_server() -> None:
    for name, service in project(FILES[1])["services"].items():
        variables = service.get("environment") or {}
        if "POSTGRES_HOST" in variables:
            assert variables["POSTGRES_SSLMODE"] == "verify-full", name
            assert variables["PGSSLROOTCERT"] == "/tls/ca.crt", name
            assert any(mount["target"] == "/tls" for mount in service["volumes"]), name


def test_with_tls_postgresql_takes_nobody_without() -> None:
    rules = (ROOT / "deploy/postgres/pg_hba.tls.conf").read_text().split()
    assert "host" not in rules
    mounts = project(FILES[1])["services"]["postgres"]["volumes"]
    (hba,) = [mount for mount in mounts if mount["target"] == "/etc/postgresql/pg_hba.conf"]
    assert Path(hba["source"]).name == "pg_hba.tls.conf"
