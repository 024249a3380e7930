"""`store timescale` and the note of `load`: what is past its time is told before it goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.conftest import Answer, Cli

POINTS = Path(__file__).parents[1] / "data" / "load" / "points.csv"

Run = Callable[..., Answer]


@pytest.fixture
def own(here: Cli) -> Run:
    """Runs a command on a database of its own."""
    database = f"timeseries_{uuid4().hex[:8]}"

    def run(*words: str, **changes: str) -> Answer:
        return here(*words, **{"TIMESCALE_DB": database, **changes})

    return run


def load(own: Run, *options: str, **changes: str) -> Answer:
    return own("load", "metrics", str(POINTS), "--service", "s", *options, **changes)


def pending(own: Run, **changes: str) -> int:
    return int(own("store", "timescale", "status", "--json", **changes).json["pending_hours"])


def test_a_load_says_what_the_next_retention_run_drops(own: Run) -> None:
    answer = load(own, "--json")
    report = answer.json
    [note] = report["notes"]
    assert note.startswith(f"{report['new']} points are older than 90 days")
    assert "NEO_METRICS_RAW=indefinite" in note


def test_a_load_says_nothing_where_all_is_kept(own: Run) -> None:
    assert load(own, "--json", NEO_METRICS_RAW="indefinite").json["notes"] == []


def test_refresh_brings_rollups_up_to_date(own: Run) -> None:
    keep = {"NEO_METRICS_RAW": "indefinite"}
    load(own, **keep)
    if pending(own, **keep):  # with the extension nothing is known to be pending
        assert "hours aggregated again" in own("store", "timescale", "refresh", **keep).out
    assert own("store", "timescale", "refresh", **keep).code == 0
    assert pending(own, **keep) == 0


def test_a_dry_run_of_retention_drops_nothing(own: Run) -> None:
    new = load(own, "--json").json["new"]
    for _ in range(2):
        told = own("store", "timescale", "retention", "--dry-run", "--json").json
        assert sum(part["rows"] for part in told["dropped"] if part["level"] == "raw") == new
    assert own("store", "timescale", "retention").code == 0
    assert "nothing is past its time" in own("store", "timescale", "retention").out


@pytest.mark.parametrize("command", ["status", "refresh", "retention --dry-run"])
def test_tables_fit_into_80_columns(own: Run, command: str) -> None:
    load(own)
    answer = own("store", "timescale", *command.split(), COLUMNS="80")
    assert answer.code == 0, answer.err
    assert max(map(len, answer.out.splitlines()), default=0) <= 80


def test_an_age_that_is_none_is_refused_by_name(own: Run) -> None:
    answer = own("store", "timescale", "status", NEO_METRICS_RAW="soon")
    assert answer.code != 0
    assert "NEO_METRICS_RAW" in answer.err
