"""The keeper: one process per data directory that owns its servers while anybody uses them.

Run as `python -m neo_polystore.embedded.keeper DATA_DIR`, by `Membership`. It needs nothing but
the standard library, so that it starts at once and stays small. What is said over its socket is
in `service.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from neo_polystore.embedded.account import choose_account
from neo_polystore.embedded.channel import encode
from neo_polystore.embedded.clickhouse import ClickHouseServer
from neo_polystore.embedded.files import Layout, load_passwords
from neo_polystore.embedded.locks import try_lock
from neo_polystore.embedded.ports import Ports
from neo_polystore.embedded.postgres import PostgresServer
from neo_polystore.embedded.redis import RedisServer
from neo_polystore.embedded.runner import Runner
from neo_polystore.embedded.servers import Server
from neo_polystore.embedded.service import Keeper, in_thread
from neo_polystore.embedded.supervisor import SupervisedServer, Supervisor
from neo_polystore.embedded.values import SERVERS, EmbeddedError, EmbeddedOptions

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
            except BaseException as error:
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


def build_supervisor(layout: Layout, options: EmbeddedOptions, main: MainThread) -> Supervisor:
    """All the servers of a data directory, not started."""
    account = choose_account(options.user, (*map(layout.home, SERVERS), layout.root))
    passwords = load_passwords(layout)
    ports = Ports(layout)
    servers: list[Server] = [
        PostgresServer(layout, passwords["postgres"], account, options.pg_bin),
        RedisServer(layout, passwords["redis"], account),
        ClickHouseServer(layout, passwords["clickhouse"], account),
    ]
    return Supervisor(
        SupervisedServer(
            Runner(server, layout=layout, account=account, on_main=main.call),
            ports=ports,
            password=passwords[server.name],
            log=log,
        )
        for server in servers
    )


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
        options = EmbeddedOptions.from_json(arguments.options)
        main_thread = MainThread()
        supervisor = build_supervisor(layout, options, main_thread)
        keeper = Keeper(layout, options, supervisor, log=log, on_stopped=main_thread.quit)
    except EmbeddedError as error:
        log(str(error))
        if member:
            member.sendall(encode({"error": str(error)}))
        return 1
    log(f"keeping {layout.root}")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: in_thread(keeper.close))
    keeper.start(member)
    main_thread.run()
    log("stopped")
    # Not by way of the interpreter's shutdown: nothing is left to do, and a member waits for it.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
