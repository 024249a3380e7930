"""The public keys of an identity provider: a JSON Web Key Set (RFC 7517), from a file or by https.

Read when the first token comes, again when it is old, and when a token names a key that it does
not hold, so that a new key is known at once; no more often than once in `PAUSE` seconds, however
many such tokens come.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from neo_polystore.errors import ConfigError, UnavailableError

PAUSE: Final = 10.0
STALE: Final = 86_400.0
"""Seconds for which keys are used that could not be read again."""
LARGEST: Final = 1 << 20
TIMEOUT: Final = 5.0
ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
SMALLEST_RSA: Final = 2048

_logger = structlog.get_logger(__name__)


class KeySet:
    """Keys by id; `generation` grows when they have changed. UnavailableError without any."""

    def __init__(
        self, place: str, *, keep: float = 300.0, clock: Callable[[], float] = time.monotonic
    ):
        self._read = _reader(place)
        self._keep = keep
        self._clock = clock
        self._keys: list[PyJWK] = []
        self._text: bytes | None = None
        self._loaded: float | None = None
        self._tried: float | None = None
        self._lock = asyncio.Lock()
        self.generation = 0

    async def key(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """The key of this id for this algorithm; without an id the only one there is, or None."""
        await self._refresh(self._keep)
        found = self._find(kid, algorithm)
        if found is None and self._is_new_to_us(kid):
            await self._refresh(0.0)
            found = self._find(kid, algorithm)
        return found

    def _find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        able = [key for key in self._keys if key.algorithm_name == algorithm]
        if kid is not None:
            able = [key for key in able if key.key_id == kid]
        return able[0] if len(able) == 1 else None

    def _is_new_to_us(self, kid: str | None) -> bool:
        return kid is not None and all(key.key_id != kid for key in self._keys)

    async def _refresh(self, keep: float) -> None:
        """Read again what is older than `keep`, unless it was tried a moment ago."""
        if self._loaded is not None and self._clock() - self._loaded < keep:
            return
        async with self._lock:
            now = self._clock()
            if self._tried is None or now - self._tried >= PAUSE:
                self._tried = now
                try:
                    self._take(await asyncio.to_thread(self._read), now)
                except UnavailableError as error:
                    _logger.warning("keys not read", why=error.message)
        if self._loaded is None or self._clock() - self._loaded > STALE:
            raise UnavailableError("the keys that tokens are verified with cannot be read")

    def _take(self, text: bytes, now: float) -> None:
        if text != self._text:
            self._keys = _keys(text)
            self._text = text
            self.generation += 1
        self._loaded = now


def _keys(text: bytes) -> list[PyJWK]:
    """The set's keys that verify signatures by an algorithm of ours; others are passed over."""
    try:
        listed = json.loads(text)["keys"]
        entries = [entry for entry in listed if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnavailableError("what should be a key set is none") from None
    keys = []
    for entry in entries:
        if entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        try:
            key = PyJWK(entry)
        except PyJWTError:
            continue
        if key.algorithm_name in ALGORITHMS and getattr(key.key, "key_size", 0) >= _least(key):
            keys.append(key)
    if not keys:
        raise UnavailableError(f"the key set holds no key for {', '.join(ALGORITHMS)}")
    return keys


def _least(key: PyJWK) -> int:
    return SMALLEST_RSA if key.algorithm_name == "RS256" else 0


def _reader(place: str) -> Callable[[], bytes]:
    """Reads the set, and raises UnavailableError; ConfigError for a place that is not safe."""
    address = urlsplit(place)
    if address.scheme in ("http", "https"):
        loopback = address.hostname in ("127.0.0.1", "::1", "localhost")
        if address.scheme == "http" and not loopback:
            raise ConfigError("NEO_JWT_JWKS: keys that come by http can be anybody's: use https")
        return lambda: _fetched(place)
    if address.scheme not in ("", "file"):
        raise ConfigError("NEO_JWT_JWKS: expected a file or an https address")
    path = Path(address.path if address.scheme else place)
    if not path.is_file():
        raise ConfigError(f"NEO_JWT_JWKS: there is no file {path}")
    return lambda: _file(path)


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()[: LARGEST + 1]
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Who redirects could name a place that nobody trusted."""

    def redirect_request(self, *_: object) -> None:
        return None


def _fetched(place: str) -> bytes:
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(place, timeout=TIMEOUT) as answer:
            text: bytes = answer.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{type(error).__name__} at the address of the key set") from None
    if len(text) > LARGEST:
        raise UnavailableError(f"the key set is larger than {LARGEST:,} bytes")
    return text
