"""Which runs may go: grandfather, father, son, as a pure function of runs, rules and the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from neo_polystore.backup.manifest import NAME, folder_of
from neo_polystore.backup.runs import Run
from neo_polystore.backup.targets import Target
from neo_polystore.errors import UsageError

ABANDONED = timedelta(days=2)
"""After so long a run without a manifest is taken for one that nobody will resume."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How many days, weeks (ISO) and months keep their newest run; `least` runs stay in any case.

    The newest run that was proven in full stays, too. Runs of one store or schema are counted by
    themselves: a later one of them never stands in for a run of everything.
    """

    daily: int = 7
    weekly: int = 4
    monthly: int = 12
    least: int = 3

    def __post_init__(self) -> None:
        if min(self.daily, self.weekly, self.monthly) < 0 or self.least < 1:
            raise UsageError("at least one run has to stay, and no count may be negative")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run stays, and why."""

    run: Run
    keep: bool
    reason: str


def judge(runs: Sequence[Run], rules: Rules, now: datetime) -> list[Verdict]:
    """A verdict for every run, newest first. A run that cannot be read is never removed."""
    complete: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.id, reverse=True):
        if run.complete and run.problem is None:
            complete.setdefault(run.scope, []).append(run)
    reasons: dict[str, str] = {}
    for alike in complete.values():
        reasons |= _reasons(alike, rules)
    return [_verdict(run, reasons, now) for run in sorted(runs, key=lambda r: r.id, reverse=True)]


def _reasons(complete: Sequence[Run], rules: Rules) -> dict[str, str]:
    """Why runs of one scope, newest first, stay."""
    reasons: dict[str, str] = {}
    for kind, count, period in (
        ("day", rules.daily, "%Y-%m-%d"),
        ("week", rules.weekly, "%G-W%V"),
        ("month", rules.monthly, "%Y-%m"),
    ):
        newest: dict[str, str] = {}
        for run in complete:
            newest.setdefault(run.started.strftime(period), run.id)
        for name, run_id in list(newest.items())[:count]:
            reasons.setdefault(run_id, f"newest of the {kind} {name}")
    for run in complete[: rules.least]:
        reasons.setdefault(run.id, f"one of the last {rules.least}")
    for run in complete:
        if run.stores and set(run.proven) >= set(run.stores):
            reasons.setdefault(run.id, "the newest that is proven")
            break
    return reasons


def _verdict(run: Run, reasons: dict[str, str], now: datetime) -> Verdict:
    if run.problem is not None:
        return Verdict(run, True, f"cannot be read: {run.problem}")
    if not run.complete:
        old = now - run.started > ABANDONED
        return Verdict(run, not old, "never completed" if old else "may still be resumed")
    if run.id in reasons:
        return Verdict(run, True, reasons[run.id])
    return Verdict(run, False, "no rule keeps it")


def remove(target: Target, run: str) -> int:
    """Remove a run, its manifest first: what is half-removed is no backup. Blocks; how many files.

    Killed in between, it leaves a run without a manifest, which pruning removes in its time.
    """
    folder = folder_of(run)
    target.delete(folder + NAME)
    names = [item.name for item in target.list(folder)]
    for name in names:
        target.delete(name)
    return len(names) + 1
