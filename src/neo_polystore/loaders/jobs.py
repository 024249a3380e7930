"""Which files to load and how: looked at before anything is stored, read one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neo_polystore.errors import UsageError
from neo_polystore.loaders.base import BadRecord, Item, LoadOptions
from neo_polystore.loaders.formats import Format, detect, format_named, formats_of
from neo_polystore.loaders.source import FileProblem, Source


@dataclass(frozen=True, slots=True)
class Job:
    """One file to load and the format that it has; `problem` where it cannot be loaded at all."""

    source: Source
    size: int = 0
    format: Format | None = None
    problem: FileProblem | None = None


def plan(
    data_type: str, paths: Sequence[Path], options: LoadOptions, *, format_name: str | None = None
) -> list[Job]:
    """Look at every file before anything is loaded.

    Raises UsageError for an unknown data type or format, and where an option is missing that one
    of the files needs. A file that cannot be loaded is no error here: its job says why.
    """
    wanted = format_named(data_type, format_name) if format_name else None
    formats_of(data_type)
    _check_options(data_type, paths, options)
    jobs = [_look_at(data_type, path, wanted) for path in paths]
    for job in jobs:
        for name in job.format.needs if job.format else ():
            if getattr(options, name) is None:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{data_type} in {job.source.path} need {option}")
    return jobs


def _check_options(data_type: str, paths: Sequence[Path], options: LoadOptions) -> None:
    if options.encoding is not None:
        try:
            "".encode(options.encoding)
        except (LookupError, ValueError):
            raise UsageError(
                f"--encoding: there is no text encoding {options.encoding!r}"
            ) from None
    if data_type == "contract_metadata" and options.address is not None:
        if options.network is None:
            raise UsageError("--address needs --network: an address is one on some network")
        if len(paths) > 1:
            raise UsageError("--address names one contract: load one file at a time")


def _look_at(data_type: str, path: Path, wanted: Format | None) -> Job:
    source = Source(path)
    try:
        source.check()
        found = detect(data_type, source)
        return Job(source, source.size(), wanted or found)
    except FileProblem as problem:
        if wanted and problem.field == "format":
            return Job(source, source.size(), wanted)
        return Job(source, problem=problem)


def read_job(job: Job, options: LoadOptions) -> Iterator[Item]:
    """Every record of one file; whatever is wrong with the file is the last item. Never raises."""
    last = 0
    try:
        if job.problem is not None:
            raise job.problem
        if job.format is not None:
            for item in job.format.load(job.source, options):
                last = item.number
                yield item
    except FileProblem as problem:
        number = problem.number
        if number is None:
            number = last + 1 if last else 0
        yield BadRecord(number, problem.field, problem.reason)
