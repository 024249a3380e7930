"""A progress bar with rate and remaining time, on a terminal only."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

from neo_polystore.backup.run import Progress


class Bar(Progress):
    """Shows bytes of content. Says nothing where standard error is no terminal."""

    def __init__(self, console: Console, what: str):
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=None)
        self._what = what

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def started(self, run: str, total: int) -> None:
        """The total is an estimate: it rises where there was more."""
        self._bar.update(self._task, description=f"{self._what} {run}", total=total or None)

    def advanced(self, content: int, stored: int, sent: int) -> None:
        """So much more content is stored."""
        self._bar.update(self._task, advance=content)

    def read(self, content: int, stored: int) -> None:
        """So much more content was read."""
        self._bar.update(self._task, advance=content)
