"""When the platform's jobs run: their own rules, and what NEO_JOBS says otherwise.

`NEO_JOBS` holds entries separated by `;`: `name=RULE` with a cron rule of five fields (UTC), and
after it `skip` or `once` for what was missed; or `name=off`. For example
`backup=30 1 * * *; backup-proof=off; vacuum=0 4 * * 6 skip`. A job that is off can be run by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, cast, get_args

from neo_polystore.errors import ConfigError
from neo_polystore.ops.scheduler import Job, Misfire

JOBS: Final = frozenset(
    {
        "audit-links",
        "backup",
        "backup-proof",
        "backup-prune",
        "base-backup",
        "base-prune",
        "dead-letters",
        "expired-data",
        "metric-compression",
        "metric-retention",
        "metric-rollups",
        "outbox-partitions",
        "retention",
        "scheduler-runs",
        "transaction-partitions",
        "vacuum",
        "wal-check",
    }
)
"""Every job that there may be; which of them there are depends on the stores and settings."""


@dataclass(frozen=True, slots=True)
class JobRule:
    """What the settings say of one job."""

    cron: str
    misfire: Misfire | None = None


def job_rules(text: str) -> dict[str, JobRule]:
    """The rules of a setting, by job; ConfigError for what is none, with its entry."""
    rules: dict[str, JobRule] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, _, said = (part.strip() for part in entry.partition("="))
        if name not in JOBS:
            raise ConfigError(f"NEO_JOBS: no job {name!r}; there are {', '.join(sorted(JOBS))}")
        if name in rules:
            raise ConfigError(f"NEO_JOBS: {name} is named twice")
        rules[name] = _rule(name, said)
    return rules


def ruled(jobs: Iterable[Job], text: str) -> list[Job]:
    """Jobs by the rules of a setting."""
    rules = job_rules(text)
    found = []
    for job in jobs:
        if rule := rules.get(job.name):
            job = replace(job, cron=rule.cron, misfire=rule.misfire or job.misfire)
        found.append(job)
    return found


def _rule(name: str, said: str) -> JobRule:
    words = said.split()
    misfire = words.pop() if len(words) == 6 else None
    if misfire is not None and misfire not in get_args(Misfire):
        raise ConfigError(f"NEO_JOBS: {name}: {misfire!r} is neither skip nor once")
    rule = JobRule(" ".join(words), cast("Misfire | None", misfire))
    try:
        Job(name, rule.cron, _nothing).next_after(datetime.now(UTC))
    except ConfigError as error:
        raise ConfigError(f"NEO_JOBS: {error.message}") from None
    return rule


async def _nothing(_: object) -> None:
    """Work that is never done."""
