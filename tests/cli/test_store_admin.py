"""`store ENGINE init|status|retention|backup`, and the scripts that lead there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from neo_polystore.cli.main import app
from neo_polystore.cli.store_admin import ENGINES
from neo_polystore.stores.s3.config import S3Config
from tests.cli.conftest import Cli

ROOT = Path(__file__).parents[2]
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
def test_init_of_what_is_there_changes_nothing(here: Cli, engine: str) -> None:
    answer = here("store", engine, "init", "--json")
    assert answer.code == 0, answer.err
    again = here("store", engine, "init", "--dry-run", "--json")
    assert again.json["store"] == engine
    assert again.json["pending"] == []


@pytest.mark.parametrize("engine", ["postgres", "event_store", "jsonb", "files", "clickhouse"])
def test_status_tells_of_health_and_schema(here: Cli, engine: str) -> None:
    here("store", engine, "init")
    answer = here("store", engine, "status", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["ok"] is True
    assert answer.json["health"]["status"] in ("healthy", "degraded")


def test_an_engine_that_another_stands_in_for_is_named(here: Cli) -> None:
    answer = here("store", "mongo", "status")
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


@pytest.mark.parametrize("engine", ROUTED)
def test_retention_of_an_engine_is_that_of_its_data_types(here: Cli, engine: str) -> None:
    answer = here("store", engine, "retention", "--dry-run", "--json")
    assert answer.code == 0, answer.err
    if engine == "timescale":  # its own command, which tells of every level
        assert "dropped" in answer.json
        return
    served = {
        route["data_type"]
        for route in here("routes", "--json").json["routes"]
        if route["primary"] == engine
    }
    assert {line["data_type"] for line in answer.json} == served
    assert all(line["engine"] == engine for line in answer.json)


@pytest.mark.parametrize("engine", ["postgres", "redis", "files"])
def test_a_backup_of_an_engine_is_a_run_of_it_alone(here: Cli, engine: str, tmp_path: Path) -> None:
    answer = here("store", engine, "backup", "--target", str(tmp_path), "--json")
    assert answer.code == 0, answer.err
    sizes = {store["name"]: store["stored_bytes"] for store in answer.json["stores"]}
    assert not any(size for name, size in sizes.items() if name != engine)
    assert sizes[engine] or engine == "redis"
    listed = here("backup", "list", "--target", str(tmp_path), "--json").json["runs"]
    assert [run["run"] for run in listed] == [answer.json["run"]]


@pytest.mark.parametrize("verb", ["init", "status", "retention", "backup"])
def test_every_engine_has_the_four_verbs(here: Cli, verb: str) -> None:
    for engine in ENGINES:
        answer = here("store", engine, verb, "--help")
        assert answer.code == 0, f"{engine} {verb}"
        assert "--json" in answer.out
    unrouted = here("store", "mongo", verb)
    assert (unrouted.code, "mongo is not routed" in unrouted.err) == (2, True)


@pytest.mark.parametrize("engine", ["postgres", "timescale", "redis", "mongo", "s3", "clickhouse"])
def test_every_store_has_a_script_that_hands_over_to_the_command(engine: str) -> None:
    script = ROOT / "scripts" / f"{engine}-admin.sh"
    done = subprocess.run(
        [script, "status", "--json"],
        env={**os.environ, "NEO_POLYSTORE": "echo"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["store", engine, "status", "--json"]
    wrong = subprocess.run([script], capture_output=True, text=True, check=False)
    assert (wrong.returncode, "usage:" in wrong.stderr) == (2, True)
