#!/usr/bin/env python3
"""The databases from a checkout: `python manage_db.py COMMAND`, a thin cover of `neo-polystore`.

migrate, seed, status, validate --verbose and clear --force are those of `neo-polystore db`, health
is `neo-polystore health`; options are passed on. `backup --backup-file F` makes a backup in the
folder F (or s3://bucket/prefix; else NEO_BACKUP_TARGET), `restore F` brings the newest one back.
"""

from __future__ import annotations

import sys

COMMANDS = {
    "migrate": ("db", "migrate"),
    "seed": ("db", "seed"),
    "status": ("db", "status"),
    "validate": ("db", "validate"),
    "health": ("health",),
    "clear": ("db", "clear"),
    "backup": ("backup", "run"),
    "restore": ("restore", "run"),
}


def main(words: list[str]) -> int:
    """Hand over to the command line; 2 for a word that it does not know."""
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(f"usage: manage_db.py {{{','.join(COMMANDS)}}} [options]\n\n{__doc__}")
        return 0 if words else 2
    if words[0] not in COMMANDS:
        sys.stderr.write(f"manage_db.py: no command {words[0]!r}; it has {', '.join(COMMANDS)}\n")
        return 2
    try:
        from neo_polystore.cli.main import app
    except ImportError as error:
        sys.stderr.write(f"manage_db.py: {error}: run `make setup`, then .venv/bin/python\n")
        return 2
    app([*COMMANDS[words[0]], *_options(*words)], prog_name="manage_db.py")
    return 0


def _options(command: str, *words: str) -> list[str]:
    """The options in the words of `neo-polystore`."""
    if command == "backup":
        return [word.replace("--backup-file", "--target") for word in words]
    if command == "restore" and words and not words[0].startswith("-"):
        return ["--target", *words]
    return [*words]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
