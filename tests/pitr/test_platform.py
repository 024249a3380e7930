"""What users meet of it: commands, jobs, health and metrics, on one platform that archives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from neo_polystore.build import open_polystore
from neo_polystore.cli.main import app
from neo_polystore.ops.background import background_work
from neo_polystore.ops.health import check_store
from neo_polystore.ops.telemetry.exposition import Telemetry
from neo_polystore.ops.telemetry.families import FAMILIES
from neo_polystore.polystore import Polystore
from tests.pitr.conftest import Chain, Rig


@pytest.fixture
def environment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the platform, by the environment."""
    monkeypatch.setenv("NEO_PROFILE", "embedded")
    monkeypatch.setenv("NEO_DATA_DIR", str(rig.settings.neo_data_dir))
    monkeypatch.setenv("NEO_BACKUP_TARGET", str(rig.root))
    monkeypatch.setenv("NEO_BACKUP_KEY", bytes(range(32)).hex())


@pytest_asyncio.fixture
async def polystore(rig: Rig) -> AsyncIterator[Polystore]:
    """The relational store of the platform."""
    async with open_polystore(rig.settings, data_types=["accounts"]) as opened:
        yield opened


def ask(*words: str, code: int = 0) -> str:
    """What a command prints; it must end with `code`."""
    result = CliRunner().invoke(app, [*words])
    assert result.exit_code == code, result.output
    return result.output


def test_the_commands_lead_from_a_base_backup_to_a_recovered_directory(
    rig: Rig, environment: None, into: Path
) -> None:
    made = json.loads(ask("backup", "base", "--full", "--json"))
    assert made["kind"] == "full"
    assert made["encrypted"]
    more = json.loads(ask("backup", "base", "--json"))
    assert (more["kind"], more["parent"]) == ("incremental", made["base"])
    assert more["stored_bytes"] < made["stored_bytes"] / 5
    assert "restore point" in ask("backup", "restore-point", "by-command")
    assert "by-command" in ask("backup", "restore-points")
    listed = json.loads(ask("backup", "bases", "--json"))
    assert [each["base"] for each in listed[:2]] == [more["base"], made["base"]]
    assert "full" in ask("backup", "bases")
    (checked,) = json.loads(ask("backup", "wal-check", "--deep", "--json"))
    assert checked["holes"] == []
    assert more["base"] in ask("backup", "wal-check")
    pruned = json.loads(ask("backup", "prune-bases", "--dry-run", "--json"))
    assert {each["base"] for each in pruned["bases"]} >= {more["base"], made["base"]}
    shown = json.loads(ask("restore", "--to-name", "by-command", "--plan", "--json"))
    assert [each["base"] for each in shown["chain"]] == [made["base"], more["base"]]
    assert shown["done"] is None
    words = ("restore", "--to-name", "by-command", "--into", str(into), "--json")
    done = json.loads(ask(*words))["done"]
    assert done["directory"] == str(into)
    assert (into / "PG_VERSION").exists()
    assert "runs: stop it first" in " ".join(ask("restore", "adopt", str(into), code=1).split())


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["restore"], 2, "Usage"),
        (["restore", "--plan"], 2, "--to or --to-name"),
        (["restore", "--to", "yesterday"], 2, "no time"),
        (["restore", "--to", "2026-01-31T12:00:00"], 2, "needs its zone"),
        (["restore", "--to", "latest", "--to-name", "x"], 2, "--to or --to-name"),
        (["restore", "--to-name", "../x"], 2, "no name for a restore point"),
        (["restore", "--to", "1999-12-31T00:00:00Z"], 1, "no base backup was made before"),
        (["backup", "base", "--full", "--incremental"], 2, "not both"),
        (["backup", "restore-point", "a/b"], 2, "no name for a restore point"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    environment: None, words: list[str], code: int, says: str
) -> None:
    assert says in " ".join(ask(*words, code=code).split())


def test_a_hole_is_an_exit_code(environment: None, chain: Chain) -> None:
    names = sorted(path for path in chain.root.glob("wal/*/*/*.wal") if len(path.stem) == 24)
    names[-2].unlink()
    text = ask("backup", "wal-check", "--target", str(chain.root), code=1)
    assert "hole: 1 segments" in text


def test_settings_for_postgresql_are_for_its_account_alone(
    environment: None, tmp_path: Path
) -> None:
    path = tmp_path / "wal.json"
    said = ask("wal", "settings", str(path))
    assert f"--settings {path} %p %f" in " ".join(said.split())
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["NEO_BACKUP_KEY"] == bytes(range(32)).hex()


async def test_jobs_make_base_backups_check_wal_and_prune(rig: Rig, polystore: Polystore) -> None:
    async with background_work(polystore, rig.settings) as work:
        for job in ("base-backup", "wal-check", "base-prune"):
            assert work.scheduler.jobs[job].cron == "off"
            run = await work.scheduler.run_now(job)
            assert run.outcome == "done", run
    ruled = rig.settings.model_copy(update={"neo_jobs": "base-backup=0 1 * * *"})
    async with background_work(polystore, ruled) as work:
        assert work.scheduler.jobs["base-backup"].cron == "0 1 * * *"


async def test_health_and_metrics_tell_how_archiving_gets_on(
    rig: Rig, polystore: Polystore
) -> None:
    async with rig.connection() as connection:
        await connection.execute("SELECT pg_stat_reset_shared('archiver')")
    await rig.base()
    health = (await check_store(polystore, "postgres")).health
    assert health.status == "healthy", health
    facts = health.facts["archiver"]
    assert facts["archived"] >= 1
    assert facts["failed"] == 0
    assert facts["pending"] == 0
    assert 0 <= facts["age_seconds"] < 300
    telemetry = Telemetry(polystore, fresh=0, patience=10)
    page, _ = await telemetry.page()
    await telemetry.close()
    wanted = {name for name in FAMILIES if name.startswith("neo_wal_")}
    found = {line.split("{")[0] for line in page.decode().splitlines() if "neo_wal_" in line[:8]}
    assert found == wanted


async def test_a_failing_archiver_makes_the_store_degraded(rig: Rig, polystore: Polystore) -> None:
    (wal,) = rig.root.glob("wal/*/00000001*")
    aside = rig.root / "aside"
    wal.rename(aside)
    wal.touch()  # a file where the folder should be
    try:
        async with rig.connection() as connection:
            await connection.execute("SELECT pg_create_restore_point('x'), pg_switch_wal()")
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            for _ in range(600):
                health = (await check_store(polystore, "postgres")).health
                if health.status == "degraded":
                    break
                await connection.execute("SELECT pg_sleep(0.1)")
        assert health.status == "degraded"
        assert "WAL is not archived" in health.detail
    finally:
        wal.unlink()
        aside.rename(wal)
    await rig.base()  # it is caught up with
