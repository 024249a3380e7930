"""Which account the servers run as, and what it needs to reach its files.

PostgreSQL refuses to run as root, so a keeper that is root gives every server a plain account.
That account may be unable to traverse a directory above the data or the installation (a clone
in /root, a 0700 temporary directory). Such directories are the user's: their modes stay as
they are, and the server gets one capability to read past them instead.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from neo_polystore.embedded.values import EmbeddedError

DEFAULT_USER = "nobody"
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8


@dataclass(frozen=True)
class Account:
    """A user that servers are switched to."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    def may(self, status: os.stat_result, bits: int) -> bool:
        """Whether the mode bits give this account `bits` (a sum of 4, 2, 1)."""
        if status.st_uid == self.uid:
            granted = status.st_mode >> 6
        elif status.st_gid == self.gid or status.st_gid in self.groups:
            granted = status.st_mode >> 3
        else:
            granted = status.st_mode
        return granted & bits == bits


def choose_account(user: str | None, homes: Iterable[Path]) -> Account | None:
    """The account to switch to; None where servers run as whoever runs the keeper.

    Root gets `user`, or the owner of the first of the existing `homes` that is not root's (so that
    one `sudo` does not take a data directory away from its user), or `nobody`.
    """
    if os.geteuid() != 0:
        own = pwd.getpwuid(os.geteuid()).pw_name if user else None
        if user and user != own:
            raise EmbeddedError(
                f"Only root can run the embedded servers as {user!r}; this is {own!r}. "
                "Leave NEO_EMBEDDED_USER unset."
            )
        return None
    name = user or _owner(homes) or DEFAULT_USER
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise EmbeddedError(
            f"The embedded servers cannot run as {name!r}: there is no such account. "
            "Set NEO_EMBEDDED_USER to an existing one other than root."
        ) from None
    if entry.pw_uid == 0:
        raise EmbeddedError(
            "PostgreSQL refuses to run as root. Set NEO_EMBEDDED_USER to another account."
        )
    groups = tuple(group.gr_gid for group in grp.getgrall() if name in group.gr_mem)
    return Account(name, entry.pw_uid, entry.pw_gid, groups)


def _owner(homes: Iterable[Path]) -> str | None:
    for home in homes:
        with suppress(OSError, KeyError):
            if uid := home.stat().st_uid:
                return pwd.getpwuid(uid).pw_name
    return None


@dataclass(frozen=True)
class Obstacle:
    """A path that the account cannot use: a directory to traverse, or a program to run."""

    path: Path
    needs_override: bool


def find_obstacle(account: Account, paths: Iterable[Path]) -> Obstacle | None:
    """The worst thing that keeps the account from these paths; None where nothing does.

    Every directory above each path must be traversable, the path itself readable and, where it
    is a program or a directory, executable. Symbolic links are followed and checked on the way.
    """
    found: Obstacle | None = None
    seen: set[Path] = set()
    for path in paths:
        for stop in _way(path):
            if stop in seen:
                continue
            seen.add(stop)
            obstacle = _check(account, stop, stop in (path, path.resolve()))
            if obstacle and (found is None or obstacle.needs_override > found.needs_override):
                found = obstacle
    return found


def _way(path: Path) -> Iterable[Path]:
    for end in dict.fromkeys((path.absolute(), path.resolve())):
        yield from reversed(end.parents)
        yield end


def _check(account: Account, path: Path, is_end: bool) -> Obstacle | None:
    try:
        status = path.stat()
    except OSError:
        return None  # Not there: the server's own message says it better.
    if stat.S_ISDIR(status.st_mode):
        return None if account.may(status, 5 if is_end else 1) else Obstacle(path, False)
    wanted = 5 if status.st_mode & 0o111 else 4
    # Reading past a file's mode is one thing, running a program past it needs the wider right.
    return None if account.may(status, wanted) else Obstacle(path, wanted == 5)


def capability_for(account: Account, paths: Iterable[Path]) -> int | None:
    """The capability that lets the account reach the paths; None where it needs none.

    Raises `EmbeddedError`, naming the path and the way out, where there is no such capability.
    """
    obstacle = find_obstacle(account, paths)
    if obstacle is None:
        return None
    permitted = _permitted_capabilities()
    can_give = permitted >> CAP_SETPCAP & 1 and _can_be_ambient()
    choice = (
        (CAP_DAC_OVERRIDE,) if obstacle.needs_override else (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE)
    )
    for capability in choice:
        if can_give and permitted >> capability & 1:
            return capability
    raise EmbeddedError(
        f"The embedded servers run as {account.name!r} (PostgreSQL refuses root), and that account "
        f"cannot reach {obstacle.path}. Put the data directory and the Python environment where "
        "other accounts may go (for example /var/lib and /opt), run as an ordinary user, or set "
        "NEO_EMBEDDED_USER to an account that can reach them."
    )


def _permitted_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def _can_be_ambient() -> bool:
    # SECBIT_NO_CAP_AMBIENT_RAISE forbids it; PR_GET_SECUREBITS = 27.
    bits = ctypes.CDLL(None).prctl(27, 0, 0, 0, 0)
    return bits >= 0 and not bits & (1 << 6)


def hand_over(account: Account | None, directory: Path) -> None:
    """Make a server's directory (mode 0700) and give it, with all that is in it, to the account."""
    directory.mkdir(mode=0o700, exist_ok=True)
    owner = directory.stat().st_uid
    if account is None:
        if owner != os.geteuid():
            raise EmbeddedError(
                f"{directory} belongs to uid {owner}, not to you (uid {os.geteuid()}). Run as the "
                "same user as before, or change the owner of the data directory."
            )
        return
    if owner == account.uid:
        return
    for parent, names, files in os.walk(directory):
        for name in (*names, *files):
            os.chown(Path(parent, name), account.uid, account.gid, follow_symlinks=False)
    # The top last: an interrupted hand-over starts again.
    os.chown(directory, account.uid, account.gid)
