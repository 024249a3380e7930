"""A PostgreSQL as docker-compose.yml starts it: its files, its start script, our roles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.programs import (
    DEPLOY,
    answers,
    free_port,
    give,
    postgres_programs,
    run,
    running,
)
from tests.deploy.renderer import ROOT, secrets

ADMIN = "postgres"


@dataclass(frozen=True)
class Primary:
    """A running server whose roles and schema are made."""

    folder: Path
    programs: Path
    port: int
    secrets: dict[str, str]

    def environment(self, **more: str) -> dict[str, str]:
        """That of a process of the platform, and `more`."""
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        return {
            **kept,
            "NEO_PROFILE": "server",
            "NEO_DATA_DIR": str(self.folder / "platform"),
            "NEO_ROUTING": str(self.folder / "routing.toml"),
            "DB_CONNECTION_TIMEOUT": "5",
            "POSTGRES_PORT": str(self.port),
            "NO_COLOR": "1",
            "COLUMNS": "200",
            **{k: v for k, v in self.secrets.items() if k.startswith("POSTGRES_")},
            "NEO_ADMIN_URL": self.url(ADMIN, "POSTGRES_ADMIN_PASSWORD", "postgres"),
            "NEO_ROLE_PASSWORD_REPLICATOR": self.secrets["REPLICATOR_PASSWORD"],
            "NEO_ROLE_PASSWORD_MONITORING_USER": self.secrets["MONITORING_PASSWORD"],
            "NEO_ROLE_PASSWORD_BACKUP_SERVICE": self.secrets["POSTGRES_BACKUP_PASSWORD"],
            **more,
        }

    def url(
        self, user: str, secret: str, database: str = "neo_service_layer", port: int | None = None
    ) -> str:
        return (
            f"postgresql://{user}:{self.secrets[secret]}@127.0.0.1:{port or self.port}/{database}"
        )

    def cli(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`neo-polystore WORDS` as a container of the Compose file runs it."""
        return subprocess.run(
            [sys.executable, "-m", "neo_polystore", *words],
            env=self.environment(**more),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )


@contextmanager
def server(
    folder: Path, programs: Path, password: str, *more: str, **environment: str
) -> Iterator[int]:
    """The port of a server of its own, with deploy/postgres's files; `more` goes to its command."""
    data, port = folder / "data", free_port()
    pwfile = folder / "password"
    pwfile.write_text(password)
    give(folder)
    options = ["--auth-host=scram-sha-256", "--auth-local=scram-sha-256", "--data-checksums"]
    options += [f"--username={ADMIN}", f"--pwfile={pwfile}", "--no-sync", "--locale=C"]
    run(programs / "initdb", f"--pgdata={data}", *options, "--encoding=UTF8", environment={})
    with running(
        "/bin/sh",
        folder / "start.sh",
        programs / "postgres",
        *server_options(folder, port),
        *more,
        environment={"PGDATA": str(data), **environment},
        log=folder / "log",
        ready=lambda: answers(port),
    ):
        yield port


def server_options(folder: Path, port: int) -> list[str]:
    """What a test must have otherwise: where files are, the port, and less memory."""
    settings = {
        "config_file": f"{folder}/postgresql.conf",
        "hba_file": f"{folder}/pg_hba.conf",
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "shared_buffers": "32MB",
        "fsync": "off",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def files(folder: Path) -> None:
    """deploy/postgres, as it is mounted."""
    for name in ("postgresql.conf", "pg_hba.conf", "start.sh", "replica.sh"):
        shutil.copy(DEPLOY / "postgres" / name, folder)


def only_postgresql(folder: Path) -> None:
    """A routing table of the server profile that needs no MongoDB and no S3."""
    table = (ROOT / "schemas" / "routing.toml").read_text()
    head = "[profiles.server]\n"
    assert head in table
    text = table.replace(head, f'{head}mongo = "jsonb"\ns3 = "files"\n')
    (folder / "routing.toml").write_text(text)


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    with open_folder() as folder:
        yield postgres_programs(folder / "installation")


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the servers' account can come to, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="neo-deploy-"))
    give(folder)
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def primary(programs: Path) -> Iterator[Primary]:
    """The server after the one-shot services `roles` and `migrate`."""
    made = secrets()
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        files(folder)
        port = stack.enter_context(server(folder, programs, made["POSTGRES_ADMIN_PASSWORD"]))
        primary = Primary(folder, programs, port, made)
        only_postgresql(folder)
        done = primary.cli("db", "roles", "create", "--databases")
        assert done.returncode == 0, done.stdout + done.stderr
        for store in ("postgres", "event_store"):
            done = primary.cli("db", "migrate", "--store", store)
            assert done.returncode == 0, done.stdout + done.stderr
        yield primary
