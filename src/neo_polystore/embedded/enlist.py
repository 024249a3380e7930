"""Becoming a member of a data directory: connect to its keeper, or start one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import neo_polystore
from neo_polystore.embedded.channel import MAX_LINE, connect, decode, encode
from neo_polystore.embedded.files import Layout, open_log
from neo_polystore.embedded.locks import is_held
from neo_polystore.embedded.values import EmbeddedError, EmbeddedOptions

# A keeper that is stopping first lets PostgreSQL write a checkpoint.
PATIENCE = 300.0
_POLL = 0.02


def enlist(layout: Layout, options: EmbeddedOptions) -> socket.socket:
    """Return a connection that the keeper has welcomed. Blocks; call it in a thread.

    Two processes that find no keeper both start one; the lock lets one of them live, and the
    starter of the other connects to it. A keeper that is stopping is waited for.
    """
    if sys.platform != "linux":
        raise EmbeddedError("The embedded profile runs on Linux; use the server profile here.")
    layout.create()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        connection = _connect(layout)
        if connection is None and not is_held(layout.keeper_lock):
            connection = _start_keeper(layout, options)
        if connection is not None and _join(connection, layout, options):
            return connection
        time.sleep(_POLL)
    raise EmbeddedError(
        f"The keeper of {layout.root} is stopping, or stuck, for {PATIENCE:.0f} s. "
        f"See {layout.log('keeper')}."
    )


def _connect(layout: Layout) -> socket.socket | None:
    try:
        return connect(layout.run)
    except (FileNotFoundError, ConnectionError):
        return None
    except OSError as error:
        raise EmbeddedError(
            f"The keeper of {layout.root} cannot be reached: {error.strerror}. It may belong to "
            "another user."
        ) from error


def _join(connection: socket.socket, layout: Layout, options: EmbeddedOptions) -> bool:
    """Say hello; whether we are a member. A keeper that was just going does not answer."""
    answer = b""
    try:
        connection.sendall(encode({"join": True, "options": options.to_json()}))
        while not answer.endswith(b"\n") and (piece := connection.recv(MAX_LINE)):
            answer += piece
    except ConnectionError:
        pass
    message = decode(answer) if answer.endswith(b"\n") else {}
    if "welcome" in message:
        return True
    connection.close()
    if "error" in message:
        raise EmbeddedError(message["error"])
    return False


def _start_keeper(layout: Layout, options: EmbeddedOptions) -> socket.socket:
    """Start a keeper that has us as its first member."""
    ours, theirs = socket.socketpair()
    output = open_log(layout.log("keeper"))
    try:
        process = subprocess.Popen(
            (
                sys.executable, "-P", "-m", "neo_polystore.embedded.keeper", str(layout.root),
                "--options", json.dumps(options.to_json()), "--member-fd", str(theirs.fileno()),
            ),
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(),),
            # Ctrl-C in the user's terminal is for the user's process.
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(output)
    # It outlives us if others join, and dies on our watch if not: in both cases without a zombie.
    threading.Thread(target=process.wait, daemon=True, name="reap-keeper").start()
    return ours


def _environment() -> dict[str, str]:
    # The package may have been found through sys.path alone.
    root = str(Path(neo_polystore.__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join((root, inherited)) if inherited else root
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
