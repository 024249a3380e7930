"""`neo-polystore wal push|fetch`, and `python -m` of this module: for PostgreSQL itself.

It runs once for every segment, so it parses its own few words and imports next to nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from neo_polystore.errors import NotFoundError, PolystoreError
from neo_polystore.pitr.access import open_access, read_access
from neo_polystore.pitr.archive import WalArchive, system_of

USAGE = "usage: neo-polystore wal push|fetch [--settings FILE] FROM TO"
MISSING = 1
ABORT = 200
"""PostgreSQL takes codes up to 125 of a restore command for "there is no more WAL" and ends the
recovery there; what could not be read must stop it instead."""


def main(words: Sequence[str]) -> int:
    """`push %p %f` as archive_command, `fetch %f %p` as restore_command, in the data directory.

    Exit codes: 0 done; of push 1 for any failure, of fetch 1 for a file that is not there and 200
    for one that cannot be had; 2 wrong usage.
    """
    rest = list(words)
    verb = rest.pop(0) if rest else ""
    settings = None
    if rest[:1] == ["--settings"] and len(rest) > 1:
        settings, rest = Path(rest[1]), rest[2:]
    if verb not in ("push", "fetch") or len(rest) != 2:
        print(USAGE, file=sys.stderr)
        return 2
    failed = 1 if verb == "push" else ABORT
    try:
        (push if verb == "push" else fetch)(settings, *rest)
    except NotFoundError as error:
        print(f"wal {verb}: {error.message}", file=sys.stderr)
        # of a push it is the bucket that is not there
        return failed if verb == "push" else MISSING
    except (PolystoreError, OSError) as error:
        print(f"wal {verb}: {error}", file=sys.stderr)
        return failed
    except Exception as error:
        print(f"wal {verb}: {error!r}", file=sys.stderr)
        return failed
    return 0


def push(settings: Path | None, path: str, name: str) -> None:
    """Archive the file at `path`, relative to the data directory, as `name`."""
    target, key = open_access(read_access(settings))
    try:
        WalArchive(target, key, system_of(Path.cwd())).push(Path(path), name)
    finally:
        target.close()


def fetch(settings: Path | None, name: str, path: str) -> None:
    """Write the archived file `name` to `path`."""
    target, key = open_access(read_access(settings))
    try:
        content = WalArchive(target, key, system_of(Path.cwd())).fetch(name)
    finally:
        target.close()
    Path(path).write_bytes(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
