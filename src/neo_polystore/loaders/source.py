"""One input file: read in chunks or lines, plain or gzip, every trouble told in plain words."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

CHUNK = 256 * 1024
MAX_LINE = 16 * 1024 * 1024
"""Bytes that one line may have; a longer one is a problem of its own, the next is read again."""

BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


class FileProblem(Exception):  # noqa: N818 - told to the user as a rejection, never as an error
    """The file cannot be read, or not any further.

    `number` is the record where it was found; None stands for "after the last one that was read".
    """

    def __init__(self, reason: str, *, field: str = "file", number: int | None = None):
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.number = number


class Source:
    """A file to load, which can be read any number of times.

    A file that starts like gzip is decompressed on the way. Everything here raises FileProblem.
    """

    def __init__(self, path: Path):
        self.path = path
        self.position = 0
        """Bytes of the file, as it is on disk, that `chunks` and `lines` have passed."""

    def size(self) -> int:
        """Bytes on disk."""
        with _refusals():
            return self.path.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        """The content, decompressed, in pieces."""
        for position, chunk in self._pieces():
            self.position = position
            yield chunk

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        with _refusals(), self.path.open("rb") as raw:
            stream: BinaryIO = raw
            if raw.peek(2)[:2] == _GZIP:
                stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw))
            while chunk := stream.read(CHUNK):
                yield raw.tell(), chunk

    def lines(self) -> Iterator[bytes | None]:
        """The lines without their end (LF or CR LF) and without a byte order mark.

        A last line needs no end. A line of more than MAX_LINE bytes comes as None.
        """
        rest, skipping = b"", False
        for number, chunk in enumerate(self.chunks()):
            if number == 0:
                chunk = chunk.removeprefix(BOM)
            *complete, rest = (rest + chunk).split(b"\n")
            for line in complete:
                yield None if skipping or len(line) > MAX_LINE else line.removesuffix(b"\r")
                skipping = False
            if len(rest) > MAX_LINE:
                rest, skipping = b"", True
        if rest or skipping:
            yield None if skipping else rest.removesuffix(b"\r")

    def head(self) -> bytes:
        """The first chunk of the content, without a byte order mark; empty for an empty file."""
        _, chunk = next(self._pieces(), (0, b""))
        return chunk.removeprefix(BOM)

    def sha256(self) -> str:
        """The digest of the content in hexadecimal: that of `sha256sum`, for a file not gzipped."""
        digest = hashlib.sha256()
        for _, chunk in self._pieces():
            digest.update(chunk)
        return digest.hexdigest()

    def check(self) -> None:
        """Raise FileProblem unless this is a file that can be opened."""
        with _refusals():
            if self.path.is_dir():
                self.path.open("rb").close()  # says IsADirectoryError or PermissionError
            elif not self.path.is_file():
                self.path.stat()
                raise FileProblem("is no regular file")


@contextmanager
def _refusals() -> Iterator[None]:
    """The operating system's and the decompressor's complaints as FileProblem."""
    try:
        yield
    except FileNotFoundError:
        raise FileProblem("does not exist") from None
    except IsADirectoryError:
        raise FileProblem("is a directory; name the files in it") from None
    except PermissionError:
        raise FileProblem("no permission to read it") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileProblem(f"is damaged gzip: {error}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        reason = getattr(error, "strerror", None) or str(error)
        raise FileProblem(f"cannot be read: {reason}") from None
