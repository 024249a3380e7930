"""What is past its time: shown by `plan`, deleted by `apply`, kept by holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

import structlog

from neo_polystore.errors import (
    ConflictError,
    PolystoreError,
    UnavailableError,
    UnsupportedError,
)
from neo_polystore.ids import uuid7
from neo_polystore.polystore import Polystore
from neo_polystore.ports.holds import Holds
from neo_polystore.ports.retention import (
    Ages,
    Automatic,
    Held,
    HoldsChangedError,
    Portion,
    Retaining,
)
from neo_polystore.ports.retention_policy import Policy, Rule
from neo_polystore.records.query import Query
from neo_polystore.records.results import Written
from neo_polystore.records.scope import SYSTEM
from neo_polystore.retention import parquet
from neo_polystore.retention.archive import Archive
from neo_polystore.retention.holds import held_of

ROWS: Final = 1_000
ARCHIVED_ROWS: Final = 10_000
"""Rows that go, or are archived, at once where an engine can cut so."""

LEASE: Final = 30.0
"""Seconds within which what is asked of another store for one portion has to end."""

Outcome = Literal["done", "nothing", "held", "busy", "failed", "blocked"]
_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Line:
    """One data type of a plan. Nothing goes where `before` is None and `note` says why.

    `rows` would go, `held` stays for the `holds`; both are None where nobody could count.
    """

    data_type: str
    engine: str
    keep: str
    source: str
    archive: bool
    mechanism: str = ""
    before: datetime | None = None
    rows: int | None = None
    held: int | None = None
    oldest: datetime | None = None
    bytes: int | None = None
    holds: tuple[int, ...] = ()
    note: str = ""
    problem: bool = False


@dataclass(slots=True)
class Done:
    """What became of one data type. `changed` were chosen and are no longer what they were."""

    data_type: str
    outcome: Outcome = "nothing"
    deleted: int = 0
    archived: int = 0
    held: int = 0
    changed: int = 0
    seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Applied:
    """A run of retention, as the audit trail has it under `run`."""

    run: str
    done: tuple[Done, ...]

    @property
    def failed(self) -> list[Done]:
        """The data types of which not everything was done that should have been."""
        return [each for each in self.done if each.outcome in ("failed", "blocked")]


class Retention:
    """Retention over an open facade. `holder` names this process to those who wait for it."""

    def __init__(
        self,
        polystore: Polystore,
        holds: Holds,
        *,
        holder: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self.policy: Policy = polystore.retention
        self._polystore = polystore
        self._holds = holds
        self._holder = holder
        self._now = now

    @property
    def archive(self) -> Archive:
        """Where records go before they are deleted; UsageError where objects are not open."""
        return Archive(self._polystore.objects, self.policy.bucket)

    def rules(self, data_types: Collection[str] | None = None) -> list[Rule]:
        """The rules of these data types, or of all that are open; UsageError for an unknown one."""
        if data_types is None:
            return [rule for rule in self.policy.rules.values() if self._is_open(rule)]
        for name in data_types:
            self._polystore.port(name)
        return [self.policy.rules[name] for name in data_types]

    def ages(self, rule: Rule) -> Ages | None:
        """How the engine of a rule lets go of records; None where it has no way."""
        store = self._polystore.stores[rule.engine]
        return store.ages(rule.data_type) if isinstance(store, Retaining) else None

    async def plan(self, data_types: Collection[str] | None = None) -> list[Line]:
        """What would go, stay and be archived now; changes nothing."""
        return [await self._line(rule) for rule in self.rules(data_types)]

    async def apply(self, data_types: Collection[str] | None = None, *, by: str) -> Applied:
        """Delete what is past its time, archived first where the rule says so.

        A data type that fails does not keep the others. Leaves an entry in the audit trail.
        """
        rules = self.rules(data_types)
        trail = self._polystore.audit.within(SYSTEM)
        run = f"{self._now():%Y%m%dT%H%M%S}-{uuid7()}"
        done = [await self._applied(rule, run) for rule in rules]
        applied = Applied(run, tuple(done))
        await trail.record(
            "DELETE",
            "retention",
            run,
            actor=by,
            error="; ".join(f"{each.data_type}: {each.detail}" for each in applied.failed) or None,
            details={"data_types": {each.data_type: _counts(each) for each in done}},
        )
        return applied

    async def load(self, name: str) -> Written:
        """Store an archive's records again, each once by its key.

        Raises UnsupportedError for events, whose place in their stream cannot be had twice.
        """
        part = await self.archive.part(name)
        if part.data_type == "events":
            raise UnsupportedError(
                "archived events are read, not stored: an append would put them at the end of"
                " their streams"
            )
        port, written = self._polystore.records(part.data_type), Written()
        async for records in self.archive.records(name):
            written += await port.write(records)
        return written

    async def _line(self, rule: Rule) -> Line:
        line = Line(rule.data_type, rule.engine, rule.keep, rule.source, rule.archive)
        ages = self.ages(rule)
        if ages is None or not (rule.age or ages.own_periods):
            return replace(line, note=rule.why or "its engine has no retention")
        line = replace(line, mechanism=ages.mechanism)
        try:
            standing = await self._holds.standing(rule.data_type)
            before = self._before(rule)
            past = await ages.past(before, await self._held(rule.data_type))
        except PolystoreError as error:
            return replace(line, note=str(error), problem=True)
        blocked = self._blocked(rule)
        return replace(
            line,
            before=None if ages.own_periods else before,
            rows=past.rows,
            held=past.held,
            oldest=past.oldest,
            bytes=past.bytes,
            holds=tuple(hold.id for hold in standing.holds),
            note=blocked or past.detail,
            problem=bool(blocked),
        )

    async def _applied(self, rule: Rule, run: str) -> Done:
        done, started = Done(rule.data_type), time.perf_counter()
        ages = self.ages(rule)
        try:
            if ages is not None and (rule.age or ages.own_periods):
                if blocked := self._blocked(rule):
                    done.outcome, done.detail = "blocked", blocked
                else:
                    await self._portions(rule, ages, done, run)
        except (UnavailableError, ConflictError) as error:
            done.outcome, done.detail = "busy", str(error)
            if isinstance(error, UnavailableError) and "the next run" not in error.message:
                done.outcome = "failed"
        except PolystoreError as error:
            done.outcome, done.detail = "failed", str(error)
        done.seconds = round(time.perf_counter() - started, 3)
        if done.outcome == "failed":
            _logger.warning("retention failed", data_type=rule.data_type, why=done.detail)
        return done

    async def _portions(self, rule: Rule, ages: Ages, done: Done, run: str) -> None:
        before, after, number = self._before(rule), "", 0
        standing = await self._holds.standing(rule.data_type)
        if isinstance(ages, Automatic):
            await ages.hold(held=bool(standing.holds))
        limit = ARCHIVED_ROWS if rule.archive else ROWS
        while True:
            held = await self._held(rule.data_type)
            portion = await ages.portion(before, held, after=after, limit=limit)
            if portion is None:
                break
            if rule.archive and portion.rows:
                number += 1
                part = await self.archive.store(
                    rule, ages, portion, run=run, number=number, before=before
                )
                if part.rows < portion.rows:
                    raise ConflictError(
                        f"{portion.name}: {part.rows} of {portion.rows} were there to archive:"
                        " the next run will do"
                    )
                done.archived += part.rows
            try:
                gone = await self._drop(rule, ages, portion, held)
            except HoldsChangedError:
                continue  # choose again: another hold is in force by now
            done.deleted += gone
            done.changed += portion.rows - gone
            done.outcome = "done"
            after = portion.after
        if standing.holds:
            done.held = (await ages.past(before, await self._held(rule.data_type))).held
            if not done.deleted and done.held:
                done.outcome = "held"

    async def _drop(self, rule: Rule, ages: Ages, portion: Portion, held: Held) -> int:
        """Holds are asked for by the deleting transaction, or kept out while it runs."""
        if await ages.guarded():
            return await ages.drop(portion, held)
        async with self._holds.deleting(
            rule.data_type, holder=self._holder, seconds=LEASE
        ) as standing:
            gone = None  # leaving by an error says that nobody knows what was deleted
            if standing.generation == held.generation:
                now_held = self._with_own(held_of(standing, rule.data_type), rule)
                gone = await ages.drop(portion, now_held)
        if gone is None:
            raise HoldsChangedError(f"a hold on {rule.data_type} was added meanwhile")
        return gone

    async def _held(self, data_type: str) -> Held:
        standing = await self._holds.standing(data_type)
        return self._with_own(held_of(standing, data_type), self.policy.rules[data_type])

    def _with_own(self, held: Held, rule: Rule) -> Held:
        """Of the objects, the archives stay in any case."""
        if rule.data_type != "objects":
            return held
        own = Query().where("bucket", self.policy.bucket)
        return replace(held, queries=(*held.queries, own))

    def _before(self, rule: Rule) -> datetime:
        return self._now() if rule.age is None else rule.age.before(self._now())

    def _blocked(self, rule: Rule) -> str:
        """Why nothing of it may go, although it is past its time."""
        if not rule.archive:
            return ""
        try:
            parquet.require()
            self._polystore.port("objects")
        except PolystoreError as error:
            return f"nothing goes that cannot be archived: {error}"
        return ""

    def _is_open(self, rule: Rule) -> bool:
        return rule.data_type in self._polystore.ports


def _counts(done: Done) -> dict[str, Any]:
    return {
        "outcome": done.outcome,
        "deleted": done.deleted,
        "archived": done.archived,
        "held": done.held,
    }
