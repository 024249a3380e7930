"""The keeper: one process per data directory that owns its servers while anybody uses them.

Run as `python -m neo_polystore.embedded.keeper DATA_DIR`, by `Membership`. It needs nothing but
the standard library, so that it starts at once and stays small.

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

import argparse
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from neo_polystore.embedded.account import choose_account
from neo_polystore.embedded.channel import MAX_LINE, SOCKET_NAME, decode, encode, listen
from neo_polystore.embedded.clickhouse import ClickHouseServer
from neo_polystore.embedded.files import Layout, load_passwords
from neo_polystore.embedded.locks import try_lock
from neo_polystore.embedded.ports import Ports
from neo_polystore.embedded.postgres import PostgresServer
from neo_polystore.embedded.redis import RedisServer
from neo_polystore.embedded.servers import Server
from neo_polystore.embedded.supervisor import SupervisedServer, Supervisor
from neo_polystore.embedded.values import EmbeddedError, EmbeddedOptions

Send = Callable[[dict[str, Any]], None]
Spawned = subprocess.Popen[bytes]
_LOCK_ATTEMPTS = 20


class MainThread:
    """Jobs for the main thread, from any other thread."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def call(self, function: Callable[[], Spawned]) -> Spawned:
        """Run the function on the main thread; return its result or raise its exception."""
        outcome: SimpleQueue[Spawned | BaseException] = SimpleQueue()

        def job() -> None:
            try:
                outcome.put(function())
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                outcome.put(error)

        self._jobs.put(job)
        result = outcome.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def run(self) -> None:
        """Do jobs until `quit`."""
        while (job := self._jobs.get()) is not None:
            job()

    def quit(self) -> None:
        """End `run` after the jobs that are waiting."""
        self._jobs.put(None)


class Keeper:
    """Members on one side, servers on the other."""

    def __init__(self, layout: Layout, options: EmbeddedOptions, main: MainThread) -> None:
        self._options = options
        self._main = main
        self._members: dict[int, int] = {}
        self._closing = False
        self._guard = threading.Lock()
        self._listener = listen(layout.run)
        self._socket_path = layout.run / SOCKET_NAME
        self._supervisor = _build_supervisor(layout, options, main)

    def serve(self, first_member: socket.socket | None) -> None:
        """Serve until the last member is gone and every server has stopped."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: _in_thread(self.close))
        if first_member is not None:
            _in_thread(self._talk, first_member)
        _in_thread(self._accept)
        self._main.run()

    def close(self) -> None:
        """Stop everything, once; members that are still there see the connection end."""
        with self._guard:
            if self._closing:
                return
            self._closing = True
        self._shut_down()

    def _shut_down(self) -> None:
        # The socket first: whoever comes now must find no keeper, and starts the next one.
        self._socket_path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        log("stopping")
        self._supervisor.stop_all()
        self._main.quit()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                time.sleep(0.05)  # Out of descriptors, most likely: it passes.
                continue
            _in_thread(self._talk, connection)

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
            _in_thread(self._ensure, message, send)
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
            send({"error": f"The servers of this data directory already run with {name}="
                           f"{have.get(name)!r}, not {wanted[name]!r}. Stop them first, or leave "
                           "the option out."})
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


def _build_supervisor(layout: Layout, options: EmbeddedOptions, main: MainThread) -> Supervisor:
    account = choose_account(options.user)
    passwords = load_passwords(layout)
    ports = Ports(layout)
    servers: list[Server] = [
        PostgresServer(layout, passwords["postgres"], account, options.pg_bin),
        RedisServer(layout, passwords["redis"], account),
        ClickHouseServer(layout, passwords["clickhouse"], account),
    ]
    return Supervisor(
        SupervisedServer(
            server,
            layout=layout,
            ports=ports,
            account=account,
            password=passwords[server.name],
            on_main=main.call,
            log=log,
        )
        for server in servers
    )


def _in_thread(function: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def log(message: str) -> None:
    """One line in the keeper's log."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{now} [{os.getpid()}] {message}", file=sys.stderr, flush=True)


def _lock_or_none(path: Path) -> int | None:
    for _ in range(_LOCK_ATTEMPTS):
        # Members test the lock for an instant; a keeper holds it.
        if (handle := try_lock(path)) is not None:
            return handle
        time.sleep(0.005)
    return None


def main() -> int:
    """Parse the command line, take the lock, serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--options", type=json.loads, default={}, help="options, as JSON")
    parser.add_argument("--member-fd", type=int, help="the inherited connection of the starter")
    arguments = parser.parse_args()
    os.umask(0o077)
    member = None
    if arguments.member_fd is not None:
        os.set_inheritable(arguments.member_fd, False)
        member = socket.socket(fileno=arguments.member_fd)
    layout = Layout(arguments.data_dir)
    try:
        layout.create()
        lock = _lock_or_none(layout.keeper_lock)
        if lock is None:
            if member:
                member.sendall(encode({"busy": True}))
            return 0
        keeper = Keeper(layout, EmbeddedOptions.from_json(arguments.options), MainThread())
    except EmbeddedError as error:
        log(str(error))
        if member:
            member.sendall(encode({"error": str(error)}))
        return 1
    log(f"keeping {layout.root}")
    keeper.serve(member)
    log("stopped")
    # Not by way of the interpreter's shutdown: nothing is left to do, and a member waits for it.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
