"""`store ENGINE init|status`."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from neo_polystore.cli.main import app
from neo_polystore.stores.s3.config import S3Config
from tests.cli.conftest import Cli

ROUTED = (
    "postgres",
    "event_store",
    "timescale",
    "jsonb",
    "redis",
    "files",
    "clickhouse",
    "tantivy",
)


@pytest.mark.parametrize("engine", ROUTED)
def test_init_of_what_is_there_changes_nothing(cli: Cli, engine: str) -> None:
    answer = cli("store", engine, "init", "--json")
    assert answer.code == 0, answer.err
    again = cli("store", engine, "init", "--dry-run", "--json")
    assert again.json["store"] == engine
    assert again.json["pending"] == []


@pytest.mark.parametrize("engine", ["postgres", "event_store", "jsonb", "files", "clickhouse"])
def test_status_tells_of_health_and_schema(cli: Cli, engine: str) -> None:
    cli("store", engine, "init")
    answer = cli("store", engine, "status", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["ok"] is True
    assert answer.json["health"]["status"] in ("healthy", "degraded")


def test_an_engine_that_another_stands_in_for_is_named(cli: Cli) -> None:
    answer = cli("store", "mongo", "status")
    assert answer.code == 2
    assert "mongo is not routed" in answer.err


def test_buckets_that_lack_are_made_once(
    s3_config: S3Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", str(s3_config.endpoint_url))
    monkeypatch.setenv("S3_ACCESS_KEY_ID", str(s3_config.access_key_id))
    monkeypatch.setenv("S3_SECRET_ACCESS_KEY", s3_config.secret_access_key.get_secret_value())
    name = f"neo-{uuid4().hex}"
    words = ["store", "s3", "buckets", name]
    runner = CliRunner()
    assert runner.invoke(app, [*words, "--dry-run"]).exit_code == 1
    made = runner.invoke(app, [*words, "--json"])
    assert json.loads(made.stdout) == {"made": [name]}
    assert json.loads(runner.invoke(app, [*words, "--json"]).stdout) == {"made": []}
