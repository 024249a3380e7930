"""Keeps the servers alive: starts one when asked, watches it, restarts it, stops it.

One thread per server holds that server's whole life as straight code. Only the spawning itself
happens on the keeper's main thread (see `launch.spawn`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from neo_polystore.embedded.account import Account
from neo_polystore.embedded.files import Layout, log_tail, open_log
from neo_polystore.embedded.launch import Command, spawn
from neo_polystore.embedded.locks import lock_after_leftovers
from neo_polystore.embedded.ports import HOST, Ports, is_free
from neo_polystore.embedded.servers import Server
from neo_polystore.embedded.values import EmbeddedError, ServerAddress

MAX_RESTARTS = 5
STEADY_AFTER = 60.0
_POLL = 0.01

OnMain = Callable[[Callable[[], "subprocess.Popen[bytes]"]], "subprocess.Popen[bytes]"]
"""Calls a function on the main thread and returns, or raises, what it does."""


class PortTakenError(EmbeddedError):
    """Somebody else took the port between choosing it and listening on it; worth another try."""


class SupervisedServer:
    """One server and the thread that looks after it."""

    def __init__(
        self,
        server: Server,
        *,
        layout: Layout,
        ports: Ports,
        account: Account | None,
        password: str,
        on_main: OnMain,
        log: Callable[[str], None],
    ) -> None:
        self.server = server
        self.state = "stopped"
        self.port: int | None = None
        self._layout, self._ports, self._account = layout, ports, account
        self._password, self._on_main, self._log = password, on_main, log
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._error = ""
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        process = self._process
        return process.pid if process and process.returncode is None else None

    def ensure(self) -> ServerAddress:
        """Start the server unless it runs, wait until it serves, return its address.

        Callers at the same time wait for the same start. A server that was given up is tried
        again by the next call, which gets the error if that fails too.
        """
        with self._changed:
            if self.state in ("stopped", "failed") and not self._stopping.is_set():
                self.state = "starting"
                self._thread = threading.Thread(target=self._live, daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self.state != "starting")
            if self.state != "running" or self.port is None:
                raise EmbeddedError(self._error or f"{self.server.name} is being stopped.")
            return ServerAddress(HOST, self.port, self.server.user, self._password)

    def stop(self) -> None:
        """Stop cleanly; after the server's patience, kill. Returns when no process is left."""
        self._stopping.set()
        with self._changed:
            thread, process = self._thread, self._process
        if thread is None:
            return
        if process is not None:
            process.send_signal(self.server.stop_signal)
        thread.join(self.server.stop_patience)
        if not thread.is_alive():
            return
        self._log(f"{self.server.name} does not stop; killing it")
        os.close(self._lock(patience=0))
        thread.join()

    def _live(self) -> None:
        restarts = 0
        try:
            while not self._stopping.is_set():
                steady = self._serve_once(may_fail=0 < restarts < MAX_RESTARTS)
                if self._stopping.is_set():
                    break
                restarts = 1 if steady else restarts + 1
                if restarts > MAX_RESTARTS:
                    raise EmbeddedError(self._with_tail(f"{self.server.name} keeps ending."))
                self._stopping.wait(min(2.0, 0.05 * 2**restarts))
            self._set("stopped")
        except EmbeddedError as error:
            self._set("failed", str(error))
        except Exception as error:  # noqa: BLE001 - whoever asks must get an answer
            self._set("failed", f"{self.server.name} could not be started: {error!r}")

    def _serve_once(self, *, may_fail: bool) -> bool:
        """Start, and wait for the end; whether it had served long enough to count as steady."""
        name = self.server.name
        try:
            process = self._start()
        except PortTakenError as error:
            self._log(f"{name}: {error}")
            return False
        except EmbeddedError as error:
            if not may_fail:
                raise
            self._log(f"{name}: {error}")
            return False
        since = time.monotonic()
        if self._stopping.is_set():
            self._end(process)
        self._set("running")
        status = process.wait()
        if not self._stopping.is_set():
            self._set("starting")
            self._log(f"{name} ended unexpectedly ({_how(status)}); starting it again")
        return time.monotonic() - since > STEADY_AFTER

    def _start(self) -> subprocess.Popen[bytes]:
        """Bring the server up once; on return it serves."""
        name = self.server.name
        lock = self._lock(patience=self.server.stop_patience)
        try:
            port = self._ports.choose(name)
            self._log_start = _size(self._layout, name)
            self.server.prepare(port, lambda command: self._run(command, lock))
            process = self._spawn(self.server.command(port), lock)
        finally:
            os.close(lock)
        with self._changed:
            self._process = process
        try:
            self._wait_until_ready(process, port)
        except EmbeddedError as error:
            self._end(process)
            if not is_free(port) and not self._stopping.is_set():
                raise PortTakenError(f"port {port} was taken meanwhile") from error
            raise
        self.port = port
        self._log(f"{name} serves on {HOST}:{port} (process {process.pid})")
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes], port: int) -> None:
        name, patience = self.server.name, self.server.start_patience
        deadline = time.monotonic() + patience
        while not self.server.is_ready(port, process.pid):
            if process.poll() is not None:
                raise EmbeddedError(
                    self._with_tail(f"{name} did not start ({_how(process.returncode)}).")
                )
            if self._stopping.wait(_POLL):
                raise EmbeddedError(f"{name} is being stopped.")
            if time.monotonic() > deadline:
                raise EmbeddedError(self._with_tail(f"{name} was not ready after {patience:.0f} s."))

    def _run(self, command: Command, lock: int) -> None:
        """Run a helper program to its end; it holds the lock like the server itself."""
        process = self._spawn(command, lock)
        while process.poll() is None:
            if self._stopping.wait(_POLL):
                self._end(process)
                raise EmbeddedError(f"{self.server.name} is being stopped.")
        if process.returncode != 0:
            failure = f"{Path(command.argv[0]).name} failed ({_how(process.returncode)})."
            raise EmbeddedError(self._with_tail(failure))

    def _spawn(self, command: Command, lock: int) -> subprocess.Popen[bytes]:
        output = open_log(self._layout.log(self.server.name))

        def on_main() -> subprocess.Popen[bytes]:
            return spawn(command, account=self._account, output=output, keep_open=(lock,))

        try:
            return self._on_main(on_main)
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedError(f"{command.argv[0]} cannot be run: {error}") from error
        finally:
            os.close(output)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(self.server.stop_signal)
        try:
            process.wait(self.server.stop_patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _lock(self, *, patience: float) -> int:
        return lock_after_leftovers(
            self._layout.server_lock(self.server.name),
            stop_signal=self.server.stop_signal,
            patience=patience,
        )

    def _set(self, state: str, error: str = "") -> None:
        with self._changed:
            self.state, self._error = state, error
            self._changed.notify_all()
        if error:
            self._log(error)

    def _with_tail(self, message: str) -> str:
        path = self._layout.log(self.server.name)
        tail = log_tail(path, self._log_start)
        return f"{message} The end of {path}:\n{tail}" if tail else message


class Supervisor:
    """All the servers of one data directory."""

    def __init__(self, servers: Iterable[SupervisedServer]) -> None:
        self.servers = {one.server.name: one for one in servers}

    def ensure(self, name: str) -> ServerAddress:
        """See `SupervisedServer.ensure`."""
        if name not in self.servers:
            raise EmbeddedError(f"There is no embedded server {name!r}.")
        return self.servers[name].ensure()

    def stop_all(self) -> None:
        """Stop every server, all at once; returns when all are gone."""
        threads = [threading.Thread(target=one.stop) for one in self.servers.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _how(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _size(layout: Layout, name: str) -> int:
    try:
        return layout.log(name).stat().st_size
    except FileNotFoundError:
        return 0
