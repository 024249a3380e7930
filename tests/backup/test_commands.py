"""The commands `backup` and `restore`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neo_polystore.backup.runs import list_runs
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.cli.main import app
from neo_polystore.ops.backup_jobs import backup_jobs
from neo_polystore.ports.scheduling import Firing
from tests.backup.conftest import Platform

KEY = bytes(range(32)).hex()


@pytest.fixture
def environment(platform: Platform, monkeypatch: pytest.MonkeyPatch, copy: Path) -> Path:
    """Settings of the platform, by the environment; a target of one's own."""
    monkeypatch.setenv("NEO_PROFILE", "embedded")
    monkeypatch.setenv("NEO_DATA_DIR", str(platform.settings.neo_data_dir))
    monkeypatch.setenv("NEO_BACKUP_TARGET", str(copy))
    monkeypatch.setenv("NEO_BACKUP_KEY", KEY)
    return copy


def ask(*words: str, code: int = 0) -> str:
    """What a command prints; it must end with `code`."""
    result = CliRunner().invoke(app, [*words])
    assert result.exit_code == code, result.output
    return result.output


def test_a_run_is_made_listed_shown_and_proven(environment: Path) -> None:
    made = json.loads(ask("backup", "run", "--store", "tantivy", "--json"))
    listed = json.loads(ask("backup", "list", "--json"))
    assert listed["runs"][0]["run"] == made["run"]
    assert listed["runs"][0]["encrypted"]
    shown = json.loads(ask("backup", "show", made["run"], "--json"))
    assert shown["stores"] == made["stores"]
    proof = json.loads(ask("backup", "verify", made["run"], "--json"))
    assert proof["ok"], proof
    assert json.loads(ask("backup", "list", "--json"))["proven"]["tantivy"]["run"] == made["run"]


def test_the_tables_name_every_store(platform: Platform, environment: Path) -> None:
    text = ask("backup", "show", platform.manifest.id)
    for name in ("postgres", "event_store", "timescale", "clickhouse", "tantivy", "files"):
        assert name in text
    assert "within postgres" in text
    assert "proven" in ask("backup", "list")


def test_a_plan_shows_what_stands_in_the_way(platform: Platform, environment: Path) -> None:
    run = platform.manifest.id
    steps = {s["store"]: s for s in json.loads(ask("restore", "plan", run, "--json"))}
    assert "tables" in steps["postgres"]["occupied"]
    assert steps["postgres"]["rows"] == platform.manifest.store("postgres").rows
    assert "postgres" in ask("restore", "plan", run)


def test_a_stream_is_extracted_as_it_was_read(
    platform: Platform, environment: Path, tmp_path: Path
) -> None:
    words = ("backup", "extract", "files", "objects", "--run", platform.manifest.id)
    ask(*words, "--to", str(tmp_path / "objects"))
    [stream] = platform.manifest.store("files").streams
    assert (tmp_path / "objects").stat().st_size == stream.content_bytes > 0
    assert "nothing is overwritten" in ask(*words, "--to", str(tmp_path / "objects"), code=2)
    assert "no stream 'x'" in " ".join(ask("backup", "extract", "files", "x", code=2).split())


def test_a_restore_over_data_ends_with_1(platform: Platform, environment: Path) -> None:
    assert "Nothing was touched" in " ".join(
        ask("restore", "run", platform.manifest.id, code=1).split()
    )


def test_pruning_removes_nothing_when_it_is_dry(platform: Platform, environment: Path) -> None:
    verdicts = json.loads(ask("backup", "prune", "--dry-run", "--json"))
    assert platform.manifest.id in {verdict["run"] for verdict in verdicts}
    assert (environment / platform.manifest.folder / "manifest.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("backup", "show", "nonsense"), 1, "is no run"),
        (("backup", "show", "20200101T000000-00000000"), 1, "has no manifest"),
        (("backup", "run", "--store", "nowhere"), 2, "no store 'nowhere'"),
        (("backup", "run", "--schema", "core"), 2, "name the store"),
        (("backup", "run", "--resume", "20200101T000000-00000000"), 1, "nothing of a run"),
        (("backup", "list", "--target", "/nowhere/at/all"), 2, "no such directory"),
        (("backup", "list", "--target", "ftp://host"), 2, "a target is a directory"),
    ],
)
def test_wrong_usage_is_explained(
    environment: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    assert said in " ".join(ask(*words, code=code).split())


def test_without_a_target_the_setting_is_named(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEO_BACKUP_TARGET")
    assert "NEO_BACKUP_TARGET" in ask("backup", "list", code=2)


async def test_the_nightly_job_backs_up_to_the_target_of_the_settings(
    platform: Platform, tmp_path: Path
) -> None:
    settings = platform.settings.model_copy(update={"neo_backup_target": str(tmp_path / "nightly")})
    stores = {name: platform.stores[name] for name in ("tantivy", "files")}
    job = backup_jobs(stores, platform.routing, settings)[0]
    firing = Firing("backup", 1, "test", datetime.now(UTC), forced=False, seconds=10.0)
    done = await job.work(firing)
    assert job.name == "backup"
    [found] = list_runs(DirectoryTarget(tmp_path / "nightly"))
    assert isinstance(done, dict)
    assert found.id == done["run"]
