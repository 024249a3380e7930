"""Spawns a server: its own session, its own account, and an end when the keeper ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from neo_polystore.embedded.account import Account, capability_for

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class Command:
    """How to run one program as a server.

    reaches: paths that the server's account must be able to get at.
    ready_input: written to standard input at once, which is then closed (a password).
    stop_signal: ends it cleanly; also what the kernel sends when the keeper dies.
    """

    argv: tuple[str, ...]
    cwd: Path
    reaches: tuple[Path, ...]
    stop_signal: signal.Signals = signal.SIGTERM
    ready_input: bytes = b""
    environment: dict[str, str] = field(default_factory=dict)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def spawn(
    command: Command,
    *,
    account: Account | None,
    output: int,
    keep_open: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start the command. Call it on the keeper's main thread only.

    The kernel sends the parent-death signal when the spawning *thread* ends, so that thread has
    to be the one that lives as long as the process.
    """
    capability = capability_for(account, command.reaches) if account else None
    process = subprocess.Popen(  # noqa: S603 - our own commands
        command.argv,
        cwd=command.cwd,
        env=_environment(command),
        stdin=subprocess.PIPE if command.ready_input else subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=keep_open,
        start_new_session=True,
        preexec_fn=_preparation(account, capability, command.stop_signal),
    )
    if process.stdin:
        try:
            process.stdin.write(command.ready_input)
            process.stdin.close()
        except BrokenPipeError:
            pass  # It died at once; whoever waits for it reports that.
    return process


def _environment(command: Command) -> dict[str, str]:
    # A server must not pick up the PG* or Python settings of whoever happened to start it.
    kept = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "PYTHONPATH")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return {
        "PATH": os.defpath,
        **inherited,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "HOME": str(command.cwd),
        **command.environment,
    }


def _preparation(
    account: Account | None, capability: int | None, death_signal: signal.Signals
) -> Callable[[], None]:
    """What the child does between fork and exec; only system calls, all looked up beforehand."""
    keeper = os.getpid()
    prctl, capset = _LIBC.prctl, _LIBC.capset
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    mask = 1 << capability if capability is not None else 0
    data = (_CapabilityData * 2)(_CapabilityData(mask, mask, mask), _CapabilityData(0, 0, 0))

    def check(result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), "cannot set up the server process")

    def prepare() -> None:
        if account is not None:
            os.setgroups(account.groups)
            os.setgid(account.gid)
            if mask:
                # Without the bit access(2) ignores capabilities, and initdb, which asks it about
                # its own programs, would believe that they cannot be run.
                check(prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
                check(prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
            os.setuid(account.uid)
            if mask:
                check(capset(ctypes.byref(header), ctypes.byref(data)))
                check(prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0))
        # After setuid, which clears it.
        check(prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0))
        if os.getppid() != keeper:
            os._exit(1)  # The keeper died before the line above could count.

    return prepare
