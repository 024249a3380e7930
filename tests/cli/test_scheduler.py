"""`scheduler`: jobs in a process of their own, handed to it and run beside it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, command, environment

QUIET = "; ".join(
    f"{name}=off"
    for name in (
        "audit-links",
        "metric-compression",
        "metric-retention",
        "metric-rollups",
        "retention",
    )
)


@pytest.fixture
def running(data_dir: Path, cli: Cli) -> Iterator[subprocess.Popen[str]]:
    """`scheduler run` on the shared data directory."""
    with subprocess.Popen(
        command("scheduler", "run"),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(data_dir, NEO_JOBS=QUIET),
    ) as process:
        yield process
        process.kill()


def test_a_process_of_its_own_runs_what_is_triggered(
    cli: Cli, running: subprocess.Popen[str]
) -> None:
    assert running.stderr is not None
    assert "as they come due" in running.stderr.readline()
    asked = cli("scheduler", "trigger", "dead-letters")
    assert (asked.code, asked.out.strip()) == (0, "dead-letters is due now")
    deadline = time.monotonic() + 30
    while True:
        found = cli("scheduler", "history", "dead-letters", "--limit", "1", "--json").json["runs"]
        if found and found[0]["outcome"] == "done" and not found[0]["forced"]:
            break
        assert time.monotonic() < deadline
    assert found[0]["holder"].endswith(f":{running.pid}")
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 0


def test_the_list_shows_the_rules_in_force(here: Cli) -> None:
    asked = here("scheduler", "list", "--json", NEO_JOBS="vacuum=off; dead-letters=1 1 * * *")
    jobs = {job["name"]: job["cron"] for job in asked.json}
    assert (jobs["vacuum"], jobs["dead-letters"]) == ("off", "1 1 * * *")
    assert "40 3 * * *" in here("scheduler", "list").out


def test_a_job_of_another_store_runs_by_hand(here: Cli, tmp_path: Path) -> None:
    done = here("scheduler", "run", "backup", "--json", NEO_BACKUP_TARGET=str(tmp_path / "b"))
    assert done.json["outcome"] == "done", done.err
    assert (tmp_path / "b" / done.json["result"]["run"][:8]).is_dir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "nonsense"), "no job 'nonsense'"),
        (("trigger", "nonsense"), "no job 'nonsense'"),
        (("run", "backup"), "no job 'backup'"),  # no target is set
    ],
)
def test_an_unknown_job_is_wrong_usage(here: Cli, words: tuple[str, ...], said: str) -> None:
    done = here("scheduler", *words)
    assert (done.code, said in done.err) == (2, True)


def test_a_rule_that_is_none_stops_every_command(here: Cli) -> None:
    done = here("scheduler", "list", NEO_JOBS="backup=daily")
    assert (done.code, "NEO_JOBS" in done.err) == (2, True)
