"""Becoming a member of a data directory: connect to its keeper, or start one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import neo_polystore
from neo_polystore.embedded.channel import MAX_LINE, connect, decode, encode
from neo_polystore.embedded.files import Layout, log_tail, open_log
from neo_polystore.embedded.locks import is_held
from neo_polystore.embedded.values import EmbeddedError, EmbeddedOptions

# A keeper that is stopping first lets PostgreSQL write a checkpoint.
PATIENCE = 300.0
_POLL = 0.02
_MAX_CRASHES = 3


def enlist(layout: Layout, options: EmbeddedOptions) -> socket.socket:
    """Return a connection that the keeper has welcomed. Blocks; call it in a thread.

    Two processes that find no keeper both start one; the lock lets one of them live, and the
    starter of the other connects to it. A keeper that is stopping is waited for.
    """
    if sys.platform != "linux":
        raise EmbeddedError("The embedded profile runs on Linux; use the server profile here.")
    layout.create()
    deadline = time.monotonic() + PATIENCE
    crashes = 0
    while time.monotonic() < deadline:
        connection, started = _connect(layout), False
        if connection is None and not is_held(layout.keeper_lock):
            connection, started = _start_keeper(layout, options), True
        if connection is not None:
            answer = _join(connection, options)
            if "welcome" in answer:
                return connection
            connection.close()
            if "error" in answer:
                raise EmbeddedError(answer["error"])
            crashes += started and not answer
            if crashes == _MAX_CRASHES:
                path = layout.log("keeper")
                raise EmbeddedError(
                    f"The keeper of {layout.root} does not start. The end of {path}:\n"
                    + log_tail(path)
                )
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


def _join(connection: socket.socket, options: EmbeddedOptions) -> dict[str, Any]:
    """Say hello; the keeper's answer, empty from one that goes or crashes without a word."""
    answer = b""
    with suppress(ConnectionError):
        connection.sendall(encode({"join": True, "options": options.to_json()}))
        while not answer.endswith(b"\n") and (piece := connection.recv(MAX_LINE)):
            answer += piece
    return decode(answer) if answer.endswith(b"\n") else {}


def _start_keeper(layout: Layout, options: EmbeddedOptions) -> socket.socket:
    """Start a keeper that has us as its first member."""
    ours, theirs = socket.socketpair()
    output = open_log(layout.log("keeper"))
    try:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            (
                sys.executable,
                "-P",
                "-m",
                "neo_polystore.embedded.keeper",
                str(layout.root),
                "--options",
                json.dumps(options.to_json()),
                "--member-fd",
                str(theirs.fileno()),
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
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    root = str(Path(neo_polystore.__file__).parent.parent)
    if not root.endswith("-packages"):
        # A checkout may have been found through sys.path alone. (An installed package is found
        # anyway, and its neighbours must not come before the standard library.)
        inherited = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join((root, inherited)) if inherited else root
    return environment
