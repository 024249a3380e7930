"""The servers of the embedded profile: started for one data directory, stopped with its last user.

`Membership` is the way in; its docstring says what joining and leaving mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neo_polystore.embedded.membership import Membership
    from neo_polystore.embedded.overview import KeeperStatus, ServerStatus, status
    from neo_polystore.embedded.values import EmbeddedError, EmbeddedOptions, ServerAddress

__all__ = [
    "EmbeddedError",
    "EmbeddedOptions",
    "KeeperStatus",
    "Membership",
    "ServerAddress",
    "ServerStatus",
    "status",
]

_HOMES = {
    "EmbeddedError": "values",
    "EmbeddedOptions": "values",
    "KeeperStatus": "overview",
    "Membership": "membership",
    "ServerAddress": "values",
    "ServerStatus": "overview",
    "status": "overview",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the keeper runs from this package and needs no asyncio."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
