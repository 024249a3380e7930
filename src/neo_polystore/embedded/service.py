"""The keeper's socket: who is a member, what members ask for, and the end after the last one.

Protocol, one JSON object per line over `run/keeper.sock`:

    {"join": true, "options": {...}}      -> {"welcome": true} | {"error": text}
    {"id": 1, "ensure": "postgres"}       -> {"id": 1, "address": {...}} | {"id": 1, "error": text}
    {"leave": true}                       -> {"last": true | false}
    {"status": true}                      -> {"pid": ..., "members": [...], "servers": {...}}

A connection that has joined is a member until it leaves or ends; the kernel ends it when its
process dies. When the last member is gone the socket goes first, then the servers, then the
keeper. Whoever started the keeper is a member from birth, over an inherited socket pair, so a
keeper without members does not exist.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from neo_polystore.embedded.channel import MAX_LINE, SOCKET_NAME, decode, encode, listen
from neo_polystore.embedded.files import Layout
from neo_polystore.embedded.supervisor import Supervisor
from neo_polystore.embedded.values import EmbeddedError, EmbeddedOptions

Log = Callable[[str], None]
Send = Callable[[dict[str, Any]], None]


class Keeper:
    """Members on one side, servers on the other."""

    def __init__(
        self,
        layout: Layout,
        options: EmbeddedOptions,
        supervisor: Supervisor,
        *,
        log: Log,
        on_stopped: Callable[[], None],
    ) -> None:
        self._options = options
        self._supervisor = supervisor
        self._log = log
        self._on_stopped = on_stopped
        self._members: dict[int, int] = {}
        self._closing = False
        self._guard = threading.Lock()
        self._listener: socket.socket | None = None
        self._run = layout.run

    def start(self, first_member: socket.socket | None) -> None:
        """Begin to serve; returns at once. The caller holds the keeper's lock."""
        self._listener = listen(self._run)
        if first_member is not None:
            in_thread(self._talk, first_member)
        in_thread(self._accept, self._listener)

    def close(self) -> None:
        """Stop everything, once; members that are still there see the connection end."""
        with self._guard:
            if self._closing:
                return
            self._closing = True
        self._shut_down()

    def _shut_down(self) -> None:
        # The socket first: whoever comes now must find no keeper, and starts the next one.
        (self._run / SOCKET_NAME).unlink(missing_ok=True)
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._log("stopping")
        self._supervisor.stop_all()
        self._on_stopped()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                if self._closing:
                    return
                time.sleep(0.05)  # Out of descriptors, most likely: it passes.
                continue
            in_thread(self._talk, connection)

    def _talk(self, connection: socket.socket) -> None:
        me = id(connection)
        sending = threading.Lock()

        def send(message: dict[str, Any]) -> None:
            with sending, suppress(OSError):
                connection.sendall(encode(message))

        was_last = False
        try:
            with connection.makefile("rb") as lines:
                while line := lines.readline(MAX_LINE):
                    message = decode(line)
                    if "leave" in message:
                        was_last = self._leave(me)
                        send({"last": was_last})
                        break
                    if not self._answer(me, connection, message, send):
                        break
        except (OSError, ValueError):
            pass
        finally:
            was_last = self._leave(me) or was_last
            if was_last:
                # This connection ends with the process: its member waits for just that.
                self._shut_down()
            else:
                connection.close()

    def _answer(
        self, me: int, connection: socket.socket, message: dict[str, Any], send: Send
    ) -> bool:
        """Do what one message asks; whether the conversation goes on."""
        if "join" in message:
            return self._join(me, connection, message, send)
        if "status" in message:
            send(self._status())
        elif "ensure" in message and me in self._members:
            in_thread(self._ensure, message, send)
        else:
            send({"error": "not understood"})
            return False
        return True

    def _join(
        self, me: int, connection: socket.socket, message: dict[str, Any], send: Send
    ) -> bool:
        wanted, have = dict(message.get("options") or {}), self._options.to_json()
        other = [name for name, value in wanted.items() if have.get(name) != value]
        if other:
            name = other[0]
            send(
                {
                    "error": f"The servers of this data directory already run with {name}="
                    f"{have.get(name)!r}, not {wanted[name]!r}. Stop them first, or leave "
                    "the option out."
                }
            )
            return False
        credentials = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
        with self._guard:
            if self._closing:
                return False
            self._members[me] = struct.unpack("3i", credentials)[0]
        send({"welcome": True, "pid": os.getpid()})
        return True

    def _leave(self, me: int) -> bool:
        """Forget a member; whether it was the last, after which nobody can join any more."""
        with self._guard:
            if self._members.pop(me, None) is None or self._members or self._closing:
                return False
            self._closing = True
            return True

    def _ensure(self, message: dict[str, Any], send: Send) -> None:
        answer: dict[str, Any] = {"id": message.get("id")}
        try:
            answer["address"] = self._supervisor.ensure(str(message["ensure"])).to_json()
        except EmbeddedError as error:
            answer["error"] = str(error)
        send(answer)

    def _status(self) -> dict[str, Any]:
        servers = {
            name: {"state": one.state, "pid": one.pid, "port": one.port}
            for name, one in self._supervisor.servers.items()
        }
        with self._guard:
            members = sorted(self._members.values())
        return {"pid": os.getpid(), "members": members, "servers": servers}


def in_thread(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in a thread that does not keep the process."""
    threading.Thread(target=function, args=arguments, daemon=True).start()
