"""Finds the top-level asset folders (schemas, migrations, mongo, timescale) wherever we run."""

from __future__ import annotations

from pathlib import Path

from neo_polystore.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "_assets", _PACKAGE.parents[1])


def asset(name: str) -> Path:
    """The path of an asset such as `schemas/routing.toml`, in the wheel or in a checkout.

    Raises ConfigError where neither holds it: a missing file is never an empty one.
    """
    for root in _ROOTS:
        if (path := root / name).exists():
            return path
    looked = ", ".join(str(root / name) for root in _ROOTS)
    raise ConfigError(f"asset {name!r} is missing (looked at {looked}): reinstall neo-polystore")
