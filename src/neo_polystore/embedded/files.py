"""The layout of a data directory, and how its small files are read and written."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neo_polystore.embedded.values import SERVERS, EmbeddedError

_LOG_LIMIT = 10 * 1024 * 1024


@dataclass(frozen=True)
class Layout:
    """Every path below one data directory."""

    root: Path

    @property
    def run(self) -> Path:
        """Lock, socket and ports: nothing in here is worth a backup."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log per server, and the keeper's own."""
        return self.root / "log"

    @property
    def secrets(self) -> Path:
        """The servers' passwords; losing this file locks everybody out of PostgreSQL."""
        return self.root / "secrets.json"

    @property
    def archiving(self) -> Path:
        """Where PostgreSQL archives WAL to; it archives while this file is there."""
        return self.root / "archiving.json"

    @property
    def keeper_lock(self) -> Path:
        """Locked by the keeper for its whole life."""
        return self.run / "keeper.lock"

    def server_lock(self, server: str) -> Path:
        """Locked, through an inherited descriptor, while any process of that server lives."""
        return self.run / f"{server}.lock"

    def home(self, server: str) -> Path:
        """The server's own data."""
        return self.root / server

    def log(self, name: str) -> Path:
        """Where the output of a server, or of the keeper, goes."""
        return self.logs / f"{name}.log"

    def create(self) -> None:
        """Make the directories; an `EmbeddedError` names the one that cannot be made or written.

        A data directory that is made here can be traversed by other accounts, because servers
        run as another one when the keeper is root; one that exists keeps its mode.
        """
        for path, mode in ((self.root, 0o711), (self.run, 0o700), (self.logs, 0o700)):
            try:
                path.mkdir(mode=mode, parents=path == self.root)
                if path != self.root:
                    give_to_owner(path)
            except FileExistsError:
                pass
            except OSError as error:
                raise EmbeddedError(
                    f"The data directory {self.root} cannot be used: "
                    f"{path} cannot be created ({error.strerror})."
                ) from error
            if not path.is_dir():
                raise EmbeddedError(
                    f"The data directory {self.root} cannot be used: {path} is not a directory."
                )
            if not os.access(path, os.W_OK | os.X_OK):
                raise EmbeddedError(
                    f"The data directory {self.root} cannot be used: {path} is not writable "
                    "for this account."
                )


def give_to_owner(path: Path) -> None:
    """What root makes in another user's data directory is to be that user's."""
    if os.geteuid() == 0:
        parent = path.parent.stat()
        os.chown(path, parent.st_uid, parent.st_gid)


def write_json(path: Path, data: Any) -> None:
    """Replace a small file atomically and durably; mode 0600."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(data, file, indent=2, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        give_to_owner(Path(name))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small file; empty where there is no file."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise EmbeddedError(f"{path} is not valid JSON; restore it from a backup.") from error
    if not isinstance(data, dict):
        raise EmbeddedError(f"{path} does not hold a JSON object; restore it from a backup.")
    return data


def load_passwords(layout: Layout) -> dict[str, str]:
    """The servers' passwords, made once for a new data directory."""
    known = read_json(layout.secrets)
    missing = [server for server in SERVERS if server not in known]
    if "postgres" in missing and layout.home("postgres").exists():
        raise EmbeddedError(
            f"{layout.secrets} has no password for the PostgreSQL data in "
            f"{layout.home('postgres')}; restore that file from a backup."
        )
    if missing:
        known.update((server, secrets.token_urlsafe(24)) for server in missing)
        write_json(layout.secrets, known)
    return {str(server): str(password) for server, password in known.items()}


def open_log(path: Path) -> int:
    """Open a log for appending, moving a large one aside to `.1`; the caller closes it."""
    with suppress(OSError):
        if path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_name(path.name + ".1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    is_new = not path.exists()
    handle = os.open(path, flags, 0o600)
    if is_new:
        give_to_owner(path)
    return handle


def log_tail(path: Path, since: int = 0, lines: int = 15) -> str:
    """The last lines that were written after the byte offset `since`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= size else 0, size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])
