"""Errors of the ClickHouse engine, and the HTTP responses that ClickHouse makes of them."""

from __future__ import annotations

import re

ENGINE_FAILURE = 1002  # UNKNOWN_EXCEPTION
AUTHENTICATION_FAILED = 516
BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
UNKNOWN_COMPRESSION_METHOD = 89
CANNOT_DECOMPRESS = 271
SESSION_IS_LOCKED = 373

# From ClickHouse's src/Server/HTTP/exceptionCodeToHTTPStatus.cpp; the rest are 500.
_BAD_REQUEST = {6, 20, 26, 27, 33, 36, 38, 41, 42, 43, 44, 52, 53, 57, 62, 63, 69, 70, 72, 131}
_BAD_REQUEST |= {168, 173, 180, 191, 206, 259, 386, 456}
_NOT_FOUND = {16, 46, 47, 50, 56, 60, 61, 73, 81, 115, 124, 337}
_OTHERS = {
    AUTHENTICATION_FAILED: 401,
    164: 403,
    497: 403,
    159: 408,
    252: 500,
    NOT_IMPLEMENTED: 501,
}


class ClickHouseError(Exception):
    """An error with ClickHouse's code; `message` is what the client shows."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status that ClickHouse answers with."""
        if self.code in _BAD_REQUEST:
            return 400
        if self.code in _NOT_FOUND:
            return 404
        return _OTHERS.get(self.code, 500)

    def body(self, version: str) -> bytes:
        """The text as ClickHouse sends it."""
        text = self.message
        if not text.startswith("Code: "):
            text = f"Code: {self.code}. DB::Exception: {text}"
        if f"(version {version}" not in text:
            text = f"{text} (version {version} (chDB))"
        return f"{text}\n".encode()


def from_engine(error: BaseException) -> ClickHouseError:
    """Read the code out of what chDB raised; it wraps the engine's text in words of its own."""
    text = str(error)
    match = re.search(r"Code: (\d+)\. ", text)
    if match is None:
        return ClickHouseError(ENGINE_FAILURE, text.strip() or repr(error))
    return ClickHouseError(int(match[1]), text[match.start() :].strip())
