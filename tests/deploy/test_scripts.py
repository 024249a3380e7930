"""scripts/: usage, secrets, and the table of servers."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.renderer import ROOT, secrets

SCRIPTS = sorted((ROOT / "scripts").glob("*.sh")) + sorted((ROOT / "deploy").rglob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_shell_and_can_be_run(script: Path) -> None:
    subprocess.run(["/bin/sh", "-n", script], check=True)
    assert script.stat().st_mode & stat.S_IXUSR


def make_secrets(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", ROOT / "scripts" / "make-secrets.sh", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_secret_is_new_each_time_and_long() -> None:
    first, second = secrets(), secrets()
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())
    assert len(set(first.values())) == len(first)
    assert all(re.fullmatch(r"[0-9a-f]{20,}", value) for value in first.values())


def test_what_an_older_file_has_is_kept_and_what_lacks_is_added(tmp_path: Path) -> None:
    old = tmp_path / ".env"
    old.write_text("REDIS_PASSWORD=old\nPOSTGRES_PASSWORD=\nNEO_VERSION=1\n")
    lines = make_secrets(old).stdout.splitlines()
    given = dict(line.split("=", 1) for line in lines)  # the last one holds, as in an .env
    assert given["REDIS_PASSWORD"] == "old"
    assert given["NEO_VERSION"] == "1"
    assert len(given["POSTGRES_PASSWORD"]) >= 20
    assert lines.count("REDIS_PASSWORD=old") == 1
    assert given.keys() >= secrets().keys()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = make_secrets(tmp_path / "none")
    assert done.returncode == 2
    assert done.stdout == ""


def servers(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.servers", "--json", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_docker_containers_are_skipped_with_one_reason(tmp_path: Path) -> None:
    done = servers("redis", "clickhouse", NEO_TEST_CONTAINERS="1", PATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["engine"] for row in rows] == ["redis", "clickhouse"]
    assert [row["remarks"] for row in rows] == [["Docker is not installed"]] * 2


def test_a_server_that_is_not_here_is_told_of(tmp_path: Path) -> None:
    done = servers("redis", PATH=str(tmp_path))
    (row,) = json.loads(done.stdout)
    assert row["passed"] == 0
    assert "apt-get install redis-server" in row["remarks"][0]
