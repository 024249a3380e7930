"""Loads sample files without a store: what the tests of the loaders share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neo_polystore.loaders.base import BadRecord, Item, Loaded, LoadOptions
from neo_polystore.loaders.jobs import plan, read_job
from neo_polystore.records.base import Record

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GIVEN: dict[str, Any] = {"chain_id": 1, "service": "api", "system": "app", "table": "t", "now": NOW}


def items(
    data_type: str, path: Path, *, format_name: str | None = None, **options: Any
) -> list[Item]:
    """Everything that one file gives, in order."""
    given = LoadOptions(**{**GIVEN, **options})
    [job] = plan(data_type, [path], given, format_name=format_name)
    return list(read_job(job, given))


def records(data_type: str, path: Path, **options: Any) -> list[Any]:
    """The records of a file that has nothing wrong with it."""
    found = items(data_type, path, **options)
    assert [item for item in found if isinstance(item, BadRecord)] == []
    return [item.record for item in found if isinstance(item, Loaded)]


def split(found: Sequence[Item]) -> tuple[list[int], list[tuple[int, str]]]:
    """Numbers of the good records, and number and field of the bad ones."""
    good = [item.number for item in found if isinstance(item, Loaded)]
    return good, [(item.number, item.field) for item in found if isinstance(item, BadRecord)]


def reason(found: Sequence[Item]) -> str:
    """Why the only bad record is bad."""
    [problem] = [item for item in found if isinstance(item, BadRecord)]
    return problem.reason


def changed(path: Path, target: Path, *changes: tuple[bytes, bytes]) -> Path:
    """A copy of a sample with the first place of each text replaced."""
    content = path.read_bytes()
    for old, new in changes:
        assert old in content
        content = content.replace(old, new, 1)
    target.write_bytes(content)
    return target


def keys(found: Sequence[Record]) -> list[str]:
    """The keys of records."""
    return [record.key for record in found]
