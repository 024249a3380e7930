"""Runs the recovery of a restored cluster to its end: a server that nobody can connect to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from neo_polystore.embedded import archiving
from neo_polystore.embedded.account import Account, choose_account, hand_over
from neo_polystore.embedded.files import log_tail
from neo_polystore.embedded.launch import Command, spawn
from neo_polystore.embedded.servers import postgres_programs, program
from neo_polystore.embedded.values import EmbeddedError, EmbeddedOptions

_POLL = 0.05
_SETTINGS = {
    "listen_addresses": "",
    "hot_standby": "off",
    "archive_mode": "off",  # a rehearsal must not leave its timeline in the archive
    "shared_preload_libraries": "",
    "recovery_target_action": "promote",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "shared_buffers": "128MB",
}


def recover(
    data: Path,
    *,
    options: EmbeddedOptions,
    access: Mapping[str, str],
    target: Mapping[str, str],
    stopping: threading.Event,
) -> str:
    """Replay WAL from the archive up to the target, begin a new timeline, and shut down.

    `data` holds a restored base backup; `access` says where the archive is (`archiving`), `target`
    are settings of PostgreSQL (`recovery_target_time`, ...). Answers what the server logged.
    EmbeddedError, with the end of that log, where the target is not reached. Blocks; to be called
    from a thread that lives as long as the process. Setting `stopping` ends it.
    """
    account = choose_account(options.user, (data,))
    workshop = Path(tempfile.mkdtemp(prefix="neo-recovery-"))
    try:
        secret = workshop / "access.json"
        secret.touch(mode=0o600)
        secret.write_text(json.dumps(dict(access)))
        for name in ("postgresql.conf", "pg_ident.conf"):
            (workshop / name).touch()
        (workshop / "pg_hba.conf").write_text("local all all reject\n")
        (data / "recovery.signal").touch(mode=0o600)
        _give(account, workshop)
        hand_over(account, data)
        log = workshop / "log"
        command = _command(data, workshop, secret, options.pg_bin, target)
        with log.open("wb") as output:
            process = spawn(command, account=account, output=output.fileno())
        _wait(process, data, log, stopping)
        return log.read_text(errors="replace")
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _give(account: Account | None, folder: Path) -> None:
    if account is not None:
        for path in (*folder.iterdir(), folder):
            os.chown(path, account.uid, account.gid)


def _command(
    data: Path, workshop: Path, secret: Path, pg_bin: Path | None, target: Mapping[str, str]
) -> Command:
    hint = "It comes with PostgreSQL; NEO_EMBEDDED_PG_BIN may name its folder."
    postgres = program(postgres_programs(pg_bin), "postgres", hint)
    settings = {
        **_SETTINGS,
        "config_file": str(workshop / "postgresql.conf"),
        "hba_file": str(workshop / "pg_hba.conf"),
        "ident_file": str(workshop / "pg_ident.conf"),
        "unix_socket_directories": str(workshop),
        "restore_command": archiving.helper("fetch", secret, "%f", '"%p"'),
        **target,
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Command(
        argv=(str(postgres), "-D", str(data), *words),
        cwd=data,
        reaches=(data, postgres, *archiving.reaches(secret)),
        stop_signal=signal.SIGINT,
    )


def _wait(
    process: subprocess.Popen[bytes], data: Path, log: Path, stopping: threading.Event
) -> None:
    """Until the server is no standby any more; then shut it down cleanly."""
    try:
        while not _promoted(data, process.pid):
            if process.poll() is not None:
                raise EmbeddedError(f"The recovery has failed. What it said:\n{log_tail(log)}")
            if stopping.wait(_POLL):
                raise EmbeddedError("The recovery was stopped.")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()
    if process.returncode != 0:
        raise EmbeddedError(f"The recovered server did not stop cleanly:\n{log_tail(log)}")


def _promoted(data: Path, pid: int) -> bool:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
