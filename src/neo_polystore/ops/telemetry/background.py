"""Outbox, relay and scheduler as families: what the database says, and what this process did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from neo_polystore.activity import MOST_NAMES, OTHER
from neo_polystore.backup.runs import Newest
from neo_polystore.ops.background import BackgroundWork
from neo_polystore.ops.telemetry import families as f
from neo_polystore.ops.telemetry.families import Page
from neo_polystore.ops.telemetry.sampling import Sampled
from neo_polystore.ports.outbox import OutboxStatus
from neo_polystore.ports.scheduling import JobStatus

T = TypeVar("T")


def put_outbox(page: Page, sample: Sampled[OutboxStatus]) -> None:
    """How the outbox stands, by topic; topics beyond `MOST_NAMES` together."""
    _put_source(page, "outbox", sample)
    status = sample.answer
    if status is None:
        return
    page.add(f.OUTBOX_HELD, status.held)
    for name, topics in _bounded((topic.topic, topic) for topic in status.topics).items():
        page.add(f.OUTBOX_PENDING, sum(topic.depth for topic in topics), name)
        page.add(f.OUTBOX_AGE, max(topic.lag for topic in topics), name)
        page.add(f.OUTBOX_DELIVERED, sum(topic.delivered for topic in topics), name)
        page.add(f.OUTBOX_DEAD, sum(topic.dead for topic in topics), name)


def put_jobs(page: Page, sample: Sampled[Sequence[JobStatus]]) -> None:
    """What the scheduler's books say."""
    _put_source(page, "scheduler", sample)
    for job in sample.answer or ():
        if job.last_success is not None:
            page.add(f.JOB_SUCCESS, job.last_success.timestamp(), job.name)
        page.add(f.JOB_DURATION, job.ended_seconds, job.name)
        page.add(f.JOB_NEXT, job.next_run.timestamp(), job.name)
        page.add(f.JOB_RUNNING, job.holder is not None, job.name)


def put_backups(page: Page, sample: Sampled[Mapping[str, Newest]]) -> None:
    """How old the newest backup and the newest proof of each store are."""
    _put_source(page, "backup", sample)
    for store, newest in (sample.answer or {}).items():
        page.add(f.BACKUP_NEWEST, newest.complete.timestamp(), store)
        page.add(f.BACKUP_PROVEN, newest.proven.timestamp() if newest.proven else 0, store)


def put_work(page: Page, work: BackgroundWork) -> None:
    """What this process's relay and scheduler did."""
    for name, topics in _bounded(work.relay.counts.items()).items():
        page.add(f.RELAY_DELIVERED, sum(topic.delivered for topic in topics), name)
        page.add(f.RELAY_DEAD, sum(topic.dead for topic in topics), name)
        page.add(f.RELAY_BATCHES, sum(topic.batches for topic in topics), name)
        page.add(f.RELAY_FAILED, sum(topic.failed for topic in topics), name)
        page.add(f.RELAY_BLOCKED, any(topic.blocked for topic in topics), name)
        page.add(f.RELAY_LEASES_LOST, sum(topic.leases_lost for topic in topics), name)
        page.add(f.RELAY_LAG, max(topic.lag for topic in topics), name)
    for job, outcomes in work.scheduler.counts.items():
        for outcome, runs in outcomes.items():
            page.add(f.JOB_RUNS, runs, job, outcome)


def _put_source(page: Page, name: str, sample: Sampled[Any]) -> None:
    page.add(f.SOURCE_UP, sample.up, name)
    if sample.answer is not None:
        page.add(f.SOURCE_AGE, sample.age, name)


def _bounded(named: Iterable[tuple[str, T]]) -> Mapping[str, list[T]]:
    """By topic, whose name is anybody's text: the first ones, and the rest as one."""
    found: dict[str, list[T]] = {}
    for name, item in named:
        found.setdefault(name if len(found) < MOST_NAMES else OTHER, []).append(item)
    return found
