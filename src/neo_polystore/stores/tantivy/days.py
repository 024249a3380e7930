"""The directory of day indexes: which there are, and searchers that see every commit."""

from __future__ import annotations

import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from tantivy import Index, Query, Searcher

from neo_polystore.stores.tantivy.schema import make_schema, register_analyzer

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_META = "meta.json"


@dataclass
class Day:
    """One open index. `stamp` tells which commit its searcher sees."""

    path: Path
    index: Index
    stamp: tuple[int, int, int]

    @property
    def searcher(self) -> Searcher:
        """A snapshot of the newest commit that this process has loaded."""
        return self.index.searcher()


def count_matching(searcher: Searcher, query: Query) -> int:
    """How many documents match; ordered by a column so that no relevance is computed."""
    found = searcher.search(query, limit=1, order_by_field="timestamp")
    return found.count or 0  # type: ignore[attr-defined]  # missing in tantivy's stub


class Days:
    """The open day indexes of one directory. Thread-safe; every method blocks.

    The directory is the truth: a day that another process has made appears, and one that it has
    removed disappears, with the next call. Readers take no lock: a commit replaces `meta.json`
    atomically, and files that a reader has open stay readable after they are deleted.
    """

    def __init__(self, root: Path):
        self.root = root
        self._guard = threading.Lock()
        self._open: dict[str, Day] = {}

    def load(self) -> list[Day]:
        """Every day that holds a commit, newest first, each at its newest commit."""
        with self._guard:
            found: dict[str, Day] = {}
            for name in sorted(self.names(), reverse=True):
                if day := self._load(name):
                    found[name] = day
            self._open = found
            return list(found.values())

    def names(self) -> list[str]:
        """The days that have a directory."""
        return [path.name for path in self.root.iterdir() if _DAY.fullmatch(path.name)]

    def _load(self, name: str) -> Day | None:
        path = self.root / name
        try:
            status = (path / _META).stat()
        except FileNotFoundError:
            return None  # just being made, or just removed
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        day = self._open.get(name)
        if day is None:
            index = Index.open(str(path))
            index.config_reader(reload_policy="manual")
            day = Day(path, index, stamp)
            index.reload()
        elif day.stamp != stamp:
            # the stamp was taken before the reload, so a commit in between is not overlooked
            day.index.reload()
            day.stamp = stamp
        return day

    def close(self) -> None:
        """Let go of all indexes."""
        with self._guard:
            self._open = {}

    def create(self, name: str) -> Index:
        """The index of one day to write to, made where it does not exist.

        Call it under the writer's lock: a directory without a commit is what a killed writer
        has left, and is made anew.
        """
        path = self.root / name
        if path.exists() and not Index.exists(str(path)):
            shutil.rmtree(path)
        path.mkdir(exist_ok=True)
        index = Index(make_schema(), str(path))
        register_analyzer(index)
        return index
