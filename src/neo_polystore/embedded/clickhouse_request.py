"""An HTTP request as ClickHouse understands it: who, what statement, with which settings."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any
from urllib.parse import parse_qsl

from neo_polystore.embedded.clickhouse_body import decompressed, form_fields
from neo_polystore.embedded.clickhouse_engine import Context
from neo_polystore.embedded.clickhouse_errors import (
    AUTHENTICATION_FAILED,
    NOT_IMPLEMENTED,
    ClickHouseError,
)

# What the transport itself consumes; everything else in the query string is an engine setting.
TRANSPORT = frozenset({
    "query", "database", "default_format", "user", "password", "quota_key", "query_id",
    "session_id", "session_timeout", "session_check", "buffer_size", "wait_end_of_query",
    "compress", "decompress", "role", "stacktrace", "close_session", "client_protocol_version",
    "send_progress_in_http_headers", "http_headers_progress_interval_ms",
    "enable_http_compression", "cancel_http_readonly_queries_on_client_close",
    "add_http_cors_header", "http_zlib_compression_level",
})  # fmt: skip


@dataclass
class Request:
    """The head of a request, decoded."""

    path: str
    headers: dict[str, str]
    options: dict[str, str]

    @classmethod
    def from_scope(cls, scope: dict[str, Any]) -> Request:
        """From an ASGI scope."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        query = scope["query_string"].decode("latin-1")
        return cls(scope["path"], headers, dict(parse_qsl(query, keep_blank_values=True)))

    def authenticate(self, user: str, password: str) -> None:
        """Raise as ClickHouse does unless the request carries this user and password."""
        given_user, given_password = self._credentials()
        # Both compared always, in constant time.
        good = hmac.compare_digest(given_user.encode(), user.encode()) & hmac.compare_digest(
            given_password.encode(), password.encode()
        )
        if not good:
            raise ClickHouseError(
                AUTHENTICATION_FAILED,
                f"{given_user}: Authentication failed: password is incorrect, or there is no user "
                "with such name. (AUTHENTICATION_FAILED)",
            )

    def _credentials(self) -> tuple[str, str]:
        if "x-clickhouse-user" in self.headers or "x-clickhouse-key" in self.headers:
            return (
                self.headers.get("x-clickhouse-user", "default"),
                self.headers.get("x-clickhouse-key", ""),
            )
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(token).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return "", ""
            return user, password
        return self.options.get("user", "default"), self.options.get("password", "")

    def context(self) -> Context:
        """The connection that the statement is to run on."""
        options = self.options
        settings = {
            name: value
            for name, value in options.items()
            if name not in TRANSPORT and not name.startswith("param_")
        }
        try:
            timeout = float(options.get("session_timeout", 60))
        except ValueError:
            timeout = 60.0
        return Context(
            database=options.get("database") or self.headers.get("x-clickhouse-database"),
            settings=settings,
            session=options.get("session_id") or None,
            session_timeout=timeout,
            session_must_exist=options.get("session_check") == "1",
        )

    def parameters(self) -> dict[str, str]:
        """Values for `{name:Type}`; chDB wants their bare names."""
        prefix = "param_"
        return {k[len(prefix) :]: v for k, v in self.options.items() if k.startswith(prefix)}

    def is_on(self, option: str) -> bool:
        """Whether a switch in the query string is on."""
        return self.options.get(option, "0").lower() in ("1", "true")

    def body(self, raw: IO[bytes]) -> Iterator[bytes]:
        """The statement followed by what was posted, decompressed, piece by piece.

        The fields of a form join the options instead.
        """
        pieces = decompressed(raw, self.headers.get("content-encoding", "identity").lower())
        content_type = self.headers.get("content-type", "")
        if content_type.startswith("multipart/form-data"):
            self.options.update(form_fields(content_type, b"".join(pieces)))
            pieces = iter(())
        elif self.is_on("decompress"):
            raise ClickHouseError(
                NOT_IMPLEMENTED, "decompress=1 is not supported; use Content-Encoding"
            )
        query = self.options.get("query", "")
        return chain((query.encode() + b"\n",), pieces) if query else pieces
