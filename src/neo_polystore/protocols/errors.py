"""Why a request cannot be read, as the protocols tell it apart."""

from __future__ import annotations

from dataclasses import dataclass

from neo_polystore.errors import UnavailableError, UsageError


class MalformedError(UsageError):
    """The body is not what its headers say; nothing of it was stored. The message names where."""


class TooLargeError(UsageError):
    """The body, or what it decompresses to, is larger than the settings allow."""


class UnsupportedContentError(UsageError):
    """A content type or encoding that is not spoken here."""


class BusyError(UnavailableError):
    """As many requests as the settings allow are being worked on: try later."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A part of a request that was not taken: where in it, how many points, and why."""

    where: str
    points: int
    reason: str
