"""Loopback ports: chosen free, remembered, and kept for as long as they stay free."""

from __future__ import annotations

import socket
import threading

from neo_polystore.embedded.files import Layout, read_json, write_json
from neo_polystore.embedded.values import EmbeddedError

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of a stopped server in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Ports:
    """The ports of one data directory, in `run/ports.json`."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.run / "ports.json"
        self._lock = threading.Lock()

    def choose(self, server: str) -> int:
        """The port of this server: the one it had where that is free, else another free one."""
        with self._lock:
            known = self._read()
            port = known.get(server)
            if port is not None and is_free(port):
                return port
            known[server] = self._pick(set(known.values()))
            write_json(self._path, known)
            return known[server]

    def _read(self) -> dict[str, int]:
        try:
            known = read_json(self._path)
        except EmbeddedError:
            return {}  # Only a memory: a damaged one costs no more than new ports.
        return {name: port for name, port in known.items() if isinstance(port, int)}

    @staticmethod
    def _pick(taken: set[int]) -> int:
        for _ in range(50):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind((HOST, 0))
                port = int(probe.getsockname()[1])
            if port not in taken:
                return port
        raise EmbeddedError("No free port on 127.0.0.1.")
