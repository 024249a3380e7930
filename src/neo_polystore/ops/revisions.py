"""A new revision: the next number, its place in the line, a template to fill in."""

from __future__ import annotations

import re
from pathlib import Path

from neo_polystore.assets import asset
from neo_polystore.errors import ConfigError, UsageError
from neo_polystore.pgkit.migrations import revisions

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LONGEST = 50

_TEMPLATE = '''"""{title}."""

from alembic import op

revision = "{revision}"
down_revision = {down_revision}


def upgrade() -> None:
    """Say what this makes."""
    op.execute("SELECT 1")


def downgrade() -> None:
    """Take back exactly what `upgrade` made."""
    op.execute("SELECT 1")
'''


def new_revision(environment: str, name: str, *, dry_run: bool = False) -> tuple[Path, str]:
    """Write the template behind the newest revision; answer its path and text.

    Raises UsageError for a name that is none and an environment that there is not, ConfigError
    where the folder cannot be written to, as in an installed package.
    """
    name = name.strip().lower().replace("-", "_").replace(" ", "_")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"a revision's name is up to {_LONGEST} lower-case letters, digits and _, not {name!r}"
        )
    known = sorted(path.parent.name for path in asset("migrations").glob("*/versions"))
    if environment not in known:
        raise UsageError(f"there is no environment {environment!r}; there are {', '.join(known)}")
    line = revisions(environment)
    last = line[-1].id if line else None
    number = int(last.partition("_")[0]) + 1 if last else 1
    revision = f"{number:04}_{name}"
    text = _TEMPLATE.format(
        title=name.replace("_", " ").capitalize(),
        revision=revision,
        down_revision=f'"{last}"' if last else "None",
    )
    path = asset(f"migrations/{environment}/versions") / f"{revision}.py"
    if not dry_run:
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror}; new revisions are made in a checkout"
            ) from None
    return path, text
