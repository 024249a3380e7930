"""The control plane: the verbs that every engine has, whatever it stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self

from neo_polystore.activity import Activity

HealthStatus = Literal["healthy", "degraded", "unhealthy", "disabled"]


@dataclass(frozen=True, slots=True)
class Health:
    """One store's answer to a probe. `detail` is for people, `facts` for programs."""

    status: HealthStatus
    version: str | None = None
    detail: str = ""
    milliseconds: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a store's schema needed. `applied` is empty after a dry run; `pending` then is not.

    `problems` names applied revisions whose file has changed since. `undone` is what a rollback
    has taken back, newest first, or would take back.
    """

    store: str
    target: str
    current: str | None
    applied: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    not_applicable: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """What makes a store's schema, as text that an administrator can read, change and run."""

    store: str
    text: str = ""
    not_applicable: str | None = None


@dataclass(frozen=True, slots=True)
class Validation:
    """Whether files, what is applied and the live schema agree; they do without `problems`.

    `checked` says what was compared, one fact each, and `unchecked` what could not be and why.
    """

    store: str
    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    not_applicable: str | None = None

    @classmethod
    def of(cls, report: MigrationReport, *, checked: Sequence[str] = ()) -> Self:
        """What the report of a dry run says about agreement."""
        pending = [f"{name}: not applied" for name in report.pending]
        applied = [f"applied: {report.current}"] if report.current else []
        return cls(
            report.store,
            checked=[] if report.not_applicable else [*(checked or applied)],
            problems=pending + report.problems,
            not_applicable=report.not_applicable,
        )


@dataclass(frozen=True, slots=True)
class Cleared:
    """How many rows (documents, keys, objects) were removed, by table; of a dry run, would be."""

    store: str
    rows: dict[str, int] = field(default_factory=dict)
    not_applicable: str | None = None


class Store(Protocol):
    """One engine's lifecycle. Constructors do no I/O.

    `serves` names the data types that `port()` answers; `features` names optional abilities
    (`transactions`, `row-level-security`, ...) for people and for the conformance table.
    """

    name: ClassVar[str]
    serves: ClassVar[frozenset[str]]
    features: ClassVar[frozenset[str]]

    async def connect(self) -> None:
        """Open connections. Raises UnavailableError where the store cannot be reached."""

    async def close(self) -> None:
        """Finish what was accepted and close; harmless when called twice or unconnected."""

    async def health(self) -> Health:
        """Probe the store. Never raises: an unreachable store is an `unhealthy` answer."""

    @property
    def activity(self) -> Activity:
        """What was done since the store was made, counted in this process; asks nobody."""

    async def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Bring the schema to the version this package needs; `dry_run` only reports.

        Safe to call at any time and from several processes at once; a failing revision leaves
        nothing behind. An engine without a schema answers `not_applicable` with the reason.
        """

    async def rollback(self, *, to: str | None = None, dry_run: bool = False) -> MigrationReport:
        """Take back the newest revision, or every one after `to` (`base`: all there are).

        What the revisions made is lost with its rows. Raises UsageError where there is no
        revision `to`.
        """

    @classmethod
    def script(cls, *, after: str | None = None) -> Script:
        """The schema as text, from the files alone; only the revisions after `after`, if given.

        Raises UsageError where there is no revision `after`.
        """

    async def validate(self) -> Validation:
        """Compare files with what is applied, and the live schema with what they make."""

    async def clear(self, *, dry_run: bool = False) -> Cleared:
        """Remove every row of this installation, keep the schema and what migrations put in.

        Needs an open store, and is no part of serving: nobody else should be writing.
        """

    async def witness(self, data_type: str, keys: Sequence[str]) -> int:
        """How many of these record keys the engine's own client finds.

        Asks past the port, on a connection of its own where the engine has connections, so that
        it can testify that a record is where the routing table says. Raises UnavailableError.
        """

    def port(self, data_type: str) -> Any:
        """The data plane of one data type that `serves` names; KeyError for any other."""
