"""Tells whether a keeper runs for a data directory, without starting anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neo_polystore.embedded.channel import MAX_LINE, connect, decode, encode
from neo_polystore.embedded.files import Layout
from neo_polystore.embedded.locks import is_held


@dataclass(frozen=True)
class ServerStatus:
    """One server: `state` is stopped, starting, running or failed."""

    state: str
    pid: int | None
    port: int | None


@dataclass(frozen=True)
class KeeperStatus:
    """A keeper; without a `pid` it is just starting, stopping, or another user's.

    members: the process ids of the members, once per membership.
    servers: by name.
    """

    running: bool
    pid: int | None = None
    members: tuple[int, ...] = ()
    servers: dict[str, ServerStatus] | None = None


def status(data_dir: Path, *, timeout: float = 2.0) -> KeeperStatus:
    """Ask the keeper, if there is one. Starts nothing, waits for nothing, never raises `OSError`.

    A data directory that does not exist has no keeper.
    """
    layout = Layout(Path(data_dir).expanduser().absolute())
    try:
        answer = _ask(layout, timeout)
    except (OSError, ValueError):
        answer = {}
    if not answer:
        return KeeperStatus(running=_is_locked(layout))
    servers = {name: ServerStatus(**one) for name, one in answer["servers"].items()}
    return KeeperStatus(True, answer["pid"], tuple(answer["members"]), servers)


def _ask(layout: Layout, timeout: float) -> dict[str, Any]:
    answer = b""
    with connect(layout.run) as connection:
        connection.settimeout(timeout)
        connection.sendall(encode({"status": True}))
        while not answer.endswith(b"\n") and (piece := connection.recv(MAX_LINE)):
            answer += piece
    return decode(answer) if answer.endswith(b"\n") else {}


def _is_locked(layout: Layout) -> bool:
    try:
        return is_held(layout.keeper_lock)
    except OSError:
        return False
