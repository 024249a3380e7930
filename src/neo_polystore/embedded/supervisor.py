"""Keeps the servers alive: starts one when asked, watches it, restarts it, stops it.

One thread per server holds that server's whole life as straight code. Only the spawning itself
happens on the keeper's main thread (see `launch.spawn`).
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable

from neo_polystore.embedded.ports import HOST, Ports, is_free
from neo_polystore.embedded.runner import Runner, how
from neo_polystore.embedded.values import EmbeddedError, ServerAddress

MAX_FAILED_STARTS = 5
STEADY_AFTER = 60.0
LONGEST_PAUSE = 2.0


class PortTakenError(EmbeddedError):
    """Somebody else took the port between choosing it and listening on it; worth another try."""


class SupervisedServer:
    """One server and the thread that looks after it."""

    def __init__(
        self,
        runner: Runner,
        *,
        ports: Ports,
        password: str,
        log: Callable[[str], None],
    ) -> None:
        self.server = runner.server
        self.state = "stopped"
        self.port: int | None = None
        self._runner, self._ports, self._password, self._log = runner, ports, password, log
        self._changed = threading.Condition()
        self._stopping = runner.stopping
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._error = ""

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
                raise EmbeddedError(self._error) if self._error else self._runner.stopped()
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
        os.close(self._runner.lock(patience=0))
        thread.join()

    def _live(self) -> None:
        """Start it again whenever it ends; give up only what does not even start any more.

        A server that came up and was killed is needed by whoever uses it now, however often
        that happens; the pauses grow, so that one that keeps ending does not eat the machine.
        """
        ends = failed = 0
        try:
            while not self._stopping.is_set():
                served = self._serve_once(may_fail=ends > 0 and failed < MAX_FAILED_STARTS)
                if self._stopping.is_set():
                    break
                failed = failed + 1 if served is None else 0
                if failed > MAX_FAILED_STARTS:
                    raise EmbeddedError(
                        self._runner.with_tail(f"{self.server.name} cannot be started.")
                    )
                ends = 1 if served is not None and served > STEADY_AFTER else ends + 1
                self._stopping.wait(min(LONGEST_PAUSE, 0.05 * 2 ** min(ends, 10)))
            self._set("stopped")
        except EmbeddedError as error:
            self._set("failed", str(error))
        except Exception as error:
            self._set("failed", f"{self.server.name} could not be started: {error!r}")

    def _serve_once(self, *, may_fail: bool) -> float | None:
        """Start, and wait for the end; the seconds that it served, None if it did not start."""
        name = self.server.name
        try:
            process = self._start()
        except PortTakenError as error:
            self._log(f"{name}: {error}")
            return None
        except EmbeddedError as error:
            if not may_fail:
                raise
            self._log(f"{name}: {error}")
            return None
        since = time.monotonic()
        if self._stopping.is_set():
            self._runner.end(process)
        self._set("running")
        status = process.wait()
        if not self._stopping.is_set():
            self._set("starting")
            self._log(f"{name} ended unexpectedly ({how(status)}); starting it again")
        return time.monotonic() - since

    def _start(self) -> subprocess.Popen[bytes]:
        """Bring the server up once; on return it serves."""
        name = self.server.name
        lock = self._runner.lock(patience=self.server.stop_patience)
        try:
            port = self._ports.choose(name)
            self._runner.begin_log()
            self.server.prepare(port, lambda command: self._runner.run(command, lock))
            process = self._runner.spawn(self.server.command(port), lock)
        finally:
            os.close(lock)
        with self._changed:
            self._process = process
        try:
            self._runner.wait_until_ready(process, port)
        except EmbeddedError as error:
            self._runner.end(process)
            if not is_free(port) and not self._stopping.is_set():
                raise PortTakenError(f"port {port} was taken meanwhile") from error
            raise
        self.port = port
        self._log(f"{name} serves on {HOST}:{port} (process {process.pid})")
        return process

    def _set(self, state: str, error: str = "") -> None:
        with self._changed:
            self.state, self._error = state, error
            self._changed.notify_all()
        if error:
            self._log(error)


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
