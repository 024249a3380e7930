"""The console script: straight to the WAL commands, which start often, or to all the others."""

from __future__ import annotations

import sys

_OFTEN = (["wal", "push"], ["wal", "fetch"])


def main() -> None:
    """Entry point."""
    if sys.argv[1:3] in _OFTEN and not {"--help", "-h"} & set(sys.argv):
        from neo_polystore.pitr.command import main as of_wal

        sys.exit(of_wal(sys.argv[2:]))
    from neo_polystore.cli.main import main as of_everything

    of_everything()
