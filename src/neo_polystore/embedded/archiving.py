"""WAL archiving of an embedded PostgreSQL: switched on by a file in the data directory.

The file is what `neo_polystore.pitr.access` describes, so it says where the archive is. As long as
it lies there PostgreSQL archives, whoever starts it: no command that lacks a setting leaves a hole.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from neo_polystore.embedded.account import Account
from neo_polystore.embedded.files import Layout, give_to_owner, read_json, write_json
from neo_polystore.embedded.values import EmbeddedError

TIMEOUT_SECONDS = 60
"""After so long a segment with anything in it is archived although it is not full."""

_TARGET, _KEY = "NEO_BACKUP_TARGET", "NEO_BACKUP_KEY"


def switch(data_dir: Path, access: dict[str, str] | None) -> None:
    """Write the file, which counts from the next start on, or remove it (None).

    Where archiving is on already, another target or key counts at once; that what was encrypted
    no longer is to be is an `EmbeddedError`.
    """
    layout = Layout(data_dir)
    path = layout.archiving
    if access is None:
        path.unlink(missing_ok=True)
        return
    layout.create()
    known = read_json(path)
    if known == access:
        return
    if _KEY in known and _KEY not in access:
        raise EmbeddedError(
            f"WAL is archived encrypted, and {_KEY} is not set. Set it, or switch archiving off"
            " first: NEO_WAL_ARCHIVE=false."
        )
    owner = path.stat() if path.exists() else None
    write_json(path, access)
    if owner is not None and os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def prepare(layout: Layout, account: Account | None) -> None:
    """Let the server's account read the file, and write to the archive if that is a directory."""
    path = layout.archiving
    if not path.exists():
        return
    folder = _folder(path)
    if account is not None:
        os.chown(path, account.uid, account.gid)
    if folder is None:
        return
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            for made in (folder.parent, folder):
                give_to_owner(made)
        if account is not None and folder.stat().st_uid != account.uid:
            for place in (folder, *folder.rglob("*")):
                os.chown(place, account.uid, account.gid, follow_symlinks=False)
    except OSError as error:
        raise EmbeddedError(
            f"The archive of WAL {folder} cannot be used: {error.strerror}. Make the directory of"
            f" {_TARGET} available, or switch archiving off: NEO_WAL_ARCHIVE=false."
        ) from error


def server_settings(layout: Layout, version: int) -> dict[str, str]:
    """What PostgreSQL of this major version is started with; nothing where archiving is off."""
    if not layout.archiving.exists():
        return {}
    summaries = {"summarize_wal": "on"} if version >= 17 else {}
    return {
        "archive_mode": "on",
        "archive_command": helper("push", layout.archiving, '"%p"', "%f"),
        "archive_timeout": str(TIMEOUT_SECONDS),
        **summaries,
    }


def helper(verb: str, access: Path, *arguments: str) -> str:
    """The command line that PostgreSQL runs for a segment; `%` of our own paths is doubled."""
    command = (sys.executable, "-P", "-m", "neo_polystore.pitr.command", verb, "--settings", access)
    words = [shlex.quote(str(word)).replace("%", "%%") for word in command]
    return " ".join([*words, *arguments])


def reaches(access: Path) -> tuple[Path, ...]:
    """What the account of a server must be able to get at for `helper` to run."""
    if not access.exists():
        return ()
    here = Path(__file__).resolve()
    folder = _folder(access)
    return (Path(sys.executable), here, access, *([folder] if folder is not None else []))


def _folder(access: Path) -> Path | None:
    """Where WAL goes, if to a directory."""
    place = str(read_json(access).get(_TARGET, ""))
    return None if "://" in place or not place else Path(place) / "wal"
