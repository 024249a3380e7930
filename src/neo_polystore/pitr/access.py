"""Where the archive is, for processes that PostgreSQL starts: a small file in place of settings.

The file is a JSON object of environment variables (`NEO_BACKUP_TARGET`, `NEO_BACKUP_KEY`, `S3_…`).
It may hold secrets: nobody but PostgreSQL's account should be able to read it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.targets import DirectoryTarget, Target
from neo_polystore.errors import ConfigError

if TYPE_CHECKING:  # slow to import, and needed for S3 only
    from neo_polystore.settings import Settings

TARGET, KEY = "NEO_BACKUP_TARGET", "NEO_BACKUP_KEY"
_CARRIED = ("neo_backup_target", "neo_backup_key", "s3_")


def access_of(settings: Settings, place: str | None = None) -> dict[str, str]:
    """What such a file says of an installation; ConfigError where it has no target."""
    found = {
        name.upper(): _text(value)
        for name, value in settings
        if name.startswith(_CARRIED) and value is not None and _text(value)
    }
    target = place or settings.neo_backup_target
    if not target:
        raise ConfigError("no target for backups: set NEO_BACKUP_TARGET or give --target")
    if "://" not in target:
        target = str(Path(target).expanduser().absolute())
    return {**found, TARGET: target}


def write_access(path: Path, access: Mapping[str, str]) -> None:
    """Write such a file, mode 0600; ConfigError where that cannot be done."""
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(json.dumps(dict(access), indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def read_access(path: Path | None) -> Mapping[str, str]:
    """The file, or where none is given the environment; ConfigError where it is none."""
    if path is None:
        return os.environ
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise ConfigError(f"{path} is no JSON object of texts")
    return found


def open_access(access: Mapping[str, str]) -> tuple[Target, BackupKey | None]:
    """Target and key; ConfigError where no target is named."""
    place = access.get(TARGET)
    if not place:
        raise ConfigError(f"{TARGET} is not set: no archive for WAL")
    if "://" not in place:
        return DirectoryTarget(Path(place).expanduser().absolute()), BackupKey.read(
            access.get(KEY, "")
        )
    from neo_polystore.backup.places import open_target
    from neo_polystore.settings import Settings

    given: dict[str, Any] = {name.lower(): v for name, v in access.items()}
    fields = {name: v for name, v in given.items() if name in Settings.model_fields}
    settings = Settings(_env_file=None, **fields)  # type: ignore[call-arg]
    return open_target(settings), BackupKey.of(settings.neo_backup_key)


def _text(value: Any) -> str:
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
