"""Runs the programs of one server: its lock, its log, its helpers, its process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from neo_polystore.embedded.account import Account
from neo_polystore.embedded.files import Layout, log_tail, open_log
from neo_polystore.embedded.launch import Command, spawn
from neo_polystore.embedded.locks import lock_after_leftovers
from neo_polystore.embedded.servers import Server
from neo_polystore.embedded.values import EmbeddedError

OnMain = Callable[[Callable[[], "subprocess.Popen[bytes]"]], "subprocess.Popen[bytes]"]
"""Calls a function on the main thread and returns, or raises, what it does."""

_POLL = 0.01


class Runner:
    """The means to run one server; `stopping` cuts every wait short."""

    def __init__(
        self, server: Server, *, layout: Layout, account: Account | None, on_main: OnMain
    ) -> None:
        self.server = server
        self.stopping = threading.Event()
        self._layout, self._account, self._on_main = layout, account, on_main
        self._log_start = 0

    def lock(self, *, patience: float) -> int:
        """Wait until nothing of an earlier start is left; the locked descriptor is the caller's."""
        return lock_after_leftovers(
            self._layout.server_lock(self.server.name),
            stop_signal=self.server.stop_signal,
            patience=patience,
        )

    def begin_log(self) -> None:
        """From here on the log is about this start."""
        try:
            self._log_start = self._layout.log(self.server.name).stat().st_size
        except FileNotFoundError:
            self._log_start = 0

    def with_tail(self, message: str) -> str:
        """The message, followed by the end of what this start wrote into the log."""
        path = self._layout.log(self.server.name)
        tail = log_tail(path, self._log_start)
        return f"{message} The end of {path}:\n{tail}" if tail else message

    def spawn(self, command: Command, lock: int) -> subprocess.Popen[bytes]:
        """Start a program that holds the lock for as long as it, or a child of it, lives."""
        output = open_log(self._layout.log(self.server.name))

        def on_main() -> subprocess.Popen[bytes]:
            return spawn(command, account=self._account, output=output, keep_open=(lock,))

        try:
            return self._on_main(on_main)
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedError(f"{command.argv[0]} cannot be run: {error}") from error
        finally:
            os.close(output)

    def run(self, command: Command, lock: int) -> None:
        """Run a helper program to its end; `EmbeddedError` if it fails."""
        process = self.spawn(command, lock)
        while process.poll() is None:
            if self.stopping.wait(_POLL):
                self.end(process)
                raise self.stopped()
        if process.returncode != 0:
            failure = f"{Path(command.argv[0]).name} failed ({how(process.returncode)})."
            raise EmbeddedError(self.with_tail(failure))

    def wait_until_ready(self, process: subprocess.Popen[bytes], port: int) -> None:
        """Return when the server serves; `EmbeddedError` if it ends or takes too long."""
        name, patience = self.server.name, self.server.start_patience
        deadline = time.monotonic() + patience
        while not self.server.is_ready(port, process.pid):
            if process.poll() is not None:
                failure = f"{name} did not start ({how(process.returncode)})."
                raise EmbeddedError(self.with_tail(failure))
            if self.stopping.wait(_POLL):
                raise self.stopped()
            if time.monotonic() > deadline:
                raise EmbeddedError(self.with_tail(f"{name} was not ready after {patience:.0f} s."))

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Stop the process cleanly, or after the server's patience kill it."""
        process.send_signal(self.server.stop_signal)
        try:
            process.wait(self.server.stop_patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stopped(self) -> EmbeddedError:
        """The answer to whoever asks for the server now."""
        return EmbeddedError(f"{self.server.name} is being stopped.")


def how(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
