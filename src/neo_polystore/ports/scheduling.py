"""The scheduler's books: which job is due, who runs it, how every run ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

Outcome = Literal["running", "done", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Firing:
    """One run of a job that this process alone holds.

    `token` rises with every run of the job, so that what a job writes can be fenced by it.
    `scheduled_for` is when it was due; a takeover of a run that was lost has the same.
    """

    job: str
    token: int
    holder: str
    scheduled_for: datetime
    forced: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job and its last run. `holder` is who runs it now.

    `ended_seconds` is how long the last run took that has ended, `last_success` when one last
    ended well.
    """

    name: str
    cron: str
    next_run: datetime
    holder: str | None
    last_run: datetime | None
    last_outcome: Outcome | None
    last_seconds: float | None
    last_error: str | None
    last_result: Any
    ended_seconds: float | None = None
    last_success: datetime | None = None


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run on record. `finished_at` and `seconds` are None while it lasts, `seconds` also
    where its process was not heard of any more."""

    id: int
    job: str
    holder: str
    scheduled_for: datetime
    forced: bool
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    outcome: Outcome
    result: Any
    error: str | None


@dataclass(frozen=True, slots=True)
class DroppedYear:
    """A year of transactions and what became of it.

    `state` is `absent` (there is no partition of that year), `attached` or `detached` (a dry run;
    detached: an earlier run was interrupted), or `dropped`. `transactions` and `bytes` are the
    year's, `keys` the rows that went from `blockchain.transaction_keys`.
    """

    year: int
    state: Literal["absent", "attached", "detached", "dropped"]
    transactions: int
    bytes: int
    keys: int = 0


class Ledger(Protocol):
    """One set of books for all processes. Every time is given by the caller, in UTC."""

    async def now(self) -> datetime:
        """The server's clock, which all processes share."""

    async def register(self, name: str, cron: str, next_run: datetime) -> None:
        """Make a job known. A known one keeps when it is due, unless its rule has changed."""

    async def due(self, *, now: datetime) -> list[str]:
        """The jobs that can be claimed now."""

    async def trigger(self, name: str, *, now: datetime) -> bool:
        """Make a job due `now`, unless it is already; False for one that is not known."""

    async def skip(self, name: str, *, before: datetime, next_run: datetime) -> bool:
        """Pass over what was due before `before` and was not begun; whether there was anything."""

    async def claim(
        self, name: str, *, holder: str, seconds: float, now: datetime, forced: bool = False
    ) -> Firing | None:
        """Begin a run if the job is due (or `forced`) and nobody else is at it; else None.

        A run whose holder has not been heard of for its seconds is recorded as `lost`.
        """

    async def renew(self, firing: Firing, *, now: datetime) -> bool:
        """Hold the run for its seconds from now; False where somebody else has taken over."""

    async def finish(
        self,
        firing: Firing,
        *,
        now: datetime,
        next_run: datetime,
        seconds: float,
        outcome: Outcome,
        result: Any = None,
        error: str | None = None,
    ) -> bool:
        """Record how a run ended and when the job is due next (a forced run leaves that as it is).

        False, and nothing is recorded, where somebody else has taken over.
        """

    async def status(self) -> Sequence[JobStatus]:
        """Every job, by name."""

    async def history(
        self, job: str | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[PastRun]:
        """Runs, the newest first; of one job where it is named, older than the run `before`."""


class Upkeep(Protocol):
    """What the relational database needs done regularly; safe at any time, from any process."""

    async def transaction_partitions(self, *, years_ahead: int = 2) -> list[str]:
        """Make the partitions of this year and the next ones; the names of those that were new."""

    async def outbox_partitions(self, *, ahead: int = 16) -> dict[str, str]:
        """Make partitions ahead and drop delivered ones; what was done, by partition."""

    async def expired_data(self) -> dict[str, int]:
        """Delete sessions, sealed items and attestations that have expired; how many, by kind."""

    async def prune_runs(
        self, *, days: int | None = None, keep: int | None = None, dry_run: bool = False
    ) -> dict[str, int]:
        """Forget runs that ended over `days` ago; how many, by job.

        The last `keep` runs of every job stay, and the last one that ended well, and what is
        running. Without numbers the settings' hold.
        """

    async def prune_dead_letters(
        self, *, days: int | None = None, dry_run: bool = False
    ) -> dict[str, int]:
        """Forget dead letters that were replayed or discarded over `days` ago; how many, by topic.

        One that nobody has dealt with stays, however old it is.
        """

    async def vacuum(self) -> dict[str, float] | None:
        """Vacuum and analyze the tables that need it; milliseconds by table.

        None where there is no owner to do it as.
        """

    async def drop_transactions(self, year: int, *, dry_run: bool = False) -> DroppedYear:
        """Drop a past year's transactions and their keys.

        They are gone for everybody at once; keys and space go a portion at a time. A run that was
        interrupted is completed by the next. Raises UsageError for a year that is not past, and
        UnavailableError where somebody holds the table for too long.
        """
