"""What NEO_JOBS may say, and what becomes of it."""

from __future__ import annotations

import pytest

from neo_polystore.errors import ConfigError
from neo_polystore.ops.background import jobs_of, operational
from neo_polystore.ops.job_rules import JOBS, ruled
from neo_polystore.ops.scheduler import OFF, Job
from neo_polystore.polystore import Polystore
from neo_polystore.ports.scheduling import Firing
from neo_polystore.settings import Settings


async def work(_: Firing) -> None:
    """A job's work."""


def test_a_rule_takes_the_place_of_the_jobs_own() -> None:
    own = [Job("backup", "0 2 * * *", work), Job("vacuum", "1 1 * * *", work, misfire="skip")]
    backup, vacuum = ruled(own, " backup = 30 1 * * 1-5 skip; vacuum=0 4 * * 6;")
    assert (backup.cron, backup.misfire) == ("30 1 * * 1-5", "skip")
    assert (vacuum.cron, vacuum.misfire) == ("0 4 * * 6", "skip")
    assert ruled(own, "") == own
    assert ruled(own, "vacuum=off")[1].cron == OFF


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nightly=0 2 * * *", "no job 'nightly'"),
        ("backup", "no cron rule"),
        ("backup=", "no cron rule"),
        ("backup=0 2 * *", "no cron rule"),
        ("backup=61 2 * * *", "no cron rule"),
        ("backup=0 2 * * * later", "neither skip nor once"),
        ("backup=off; backup=0 2 * * *", "twice"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"NEO_JOBS.*{said}"):
        ruled([Job("backup", "0 2 * * *", work)], text)


def test_every_job_of_the_platform_can_be_named(polystore: Polystore, settings: Settings) -> None:
    asked = {"neo_backup_target": "/var/backups", "neo_jobs": "backup=off"}
    found = jobs_of(polystore, operational(polystore), settings.model_copy(update=asked))
    assert {job.name for job in found} == JOBS
    assert next(job.cron for job in found if job.name == "backup") == OFF
