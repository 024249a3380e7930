"""Log lines from plain text files."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build
from neo_polystore.loaders.log_shapes import read_line
from neo_polystore.loaders.source import MAX_LINE, FileProblem, Source
from neo_polystore.records.logs import LogEntry


def lines(source: Source, options: LoadOptions) -> Iterator[Item]:
    """Every line, empty ones too, with the id `<SHA-256 of the file>:<line number>`.

    The file is read twice: once for its digest. The message is the line without its end (LF or
    CR LF). Where a line states no full time, the timestamp is that of the load.
    """
    digest = source.sha256()
    for number, line in enumerate(_decoded(source, options.encoding or "utf-8"), 1):
        if isinstance(line, str):
            stated = read_line(line)
            data = {
                "id": f"{digest}:{number}",
                "timestamp": stated.timestamp or options.now,
                "system": options.system,
                "level": stated.level,
                "message": line,
                "host": stated.host,
            }
            yield build(LogEntry, data, number, {"message": "line"})
        else:
            yield BadRecord(number, "line", line.reason)


def _decoded(source: Source, encoding: str) -> Iterator[str | FileProblem]:
    """The lines as text, or why one of them is none."""
    if "\n".encode(encoding) != b"\n":  # UTF-16 and its like: bytes cannot be cut into lines
        yield from _decoded_stream(source, encoding)
        return
    for line in source.lines():
        if line is None:
            yield FileProblem(f"longer than {MAX_LINE:,} bytes")
            continue
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            place = f"byte {line[error.start]:#04x} at offset {error.start} of the line"
            yield FileProblem(f"not {encoding.upper()}: {place}; name another with --encoding")


def _decoded_stream(source: Source, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    rest = ""
    try:
        for chunk in source.chunks():
            *complete, rest = (rest + decoder.decode(chunk)).split("\n")
            yield from (line.removesuffix("\r") for line in complete)
            if len(rest) > MAX_LINE:
                raise FileProblem(f"a line is longer than {MAX_LINE:,} characters", field="line")
        rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise FileProblem(f"not {encoding.upper()}: {error.reason}", field="line") from None
    if rest:
        yield rest.removesuffix("\r")
