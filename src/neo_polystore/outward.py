"""HTTP to addresses that the settings name: bounded, and never on to another address."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, build_opener

from neo_polystore.errors import ConfigError

PATIENCE: Final = 10.0
"""Seconds that an answer may take."""

MOST: Final = 1 << 20
"""Bytes of an answer that are read."""


class _NoRedirect(HTTPRedirectHandler):
    """A request goes to the address that was configured and to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none: the redirection is the error."""


def make_opener() -> OpenerDirector:
    """What opens requests."""
    return build_opener(_NoRedirect)


def checked_url(url: str, *, name: str) -> str:
    """The address without a slash at its end; ConfigError naming the setting."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"{name} must begin with https:// or http://")
    return url.rstrip("/")
