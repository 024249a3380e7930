"""One storage facade over many stores: each data type goes to the store that suits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neo_polystore.build import open_polystore
    from neo_polystore.polystore import Polystore
    from neo_polystore.settings import Settings

__all__ = ["Polystore", "Settings", "__version__", "open_polystore"]

__version__ = "0.1.0"

_HOMES = {
    "Polystore": "neo_polystore.polystore",
    "Settings": "neo_polystore.settings",
    "open_polystore": "neo_polystore.build",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the package itself stays light for its child processes."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
