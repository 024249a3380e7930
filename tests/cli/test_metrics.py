"""`neo-polystore metrics`: tables, JSON and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.cli.plot import plot, plot_step, short, value_axis
from neo_polystore.polystore import Polystore
from neo_polystore.records.metrics import MetricPoint
from tests.cli.conftest import Cli

START = datetime(2026, 11, 1, tzinfo=UTC)
STEP = timedelta(minutes=30)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(polystore: Polystore) -> str:
    name = f"service-{uuid4()}"
    await polystore.metrics.write(
        [
            MetricPoint(
                time=START + n * STEP, service=name, name="load", value=n, tags={"host": host}
            )
            for host in "ab"
            for n in range(48)
        ]
    )
    return name


RANGE = ("--since", "2026-11-01", "--until", "2026-11-02")


def test_a_query_prints_a_row_per_bucket(here: Cli, service: str) -> None:
    answer = here("metrics", "query", service, "load", *RANGE, "--step", "12h", "--tag", "host=a")
    assert answer.code == 0, answer.err
    rows = [line for line in answer.out.splitlines() if "host=a" in line]
    assert [row.split("│")[-2].strip() for row in rows] == ["11.5", "35.5"]
    assert "from hourly values: every bucket consists of whole hours" in answer.err


def test_a_query_as_json_is_what_the_api_answers(here: Cli, service: str) -> None:
    words = ("--step", "1d", "--group", "name", "--aggregate", "max", "--aggregate", "p50")
    body = here("metrics", "query", service, *RANGE, *words, "--json").json
    assert (body["source"], body["step"]) == ("raw", 86400)
    assert body["series"][0]["values"] == {"max": [47], "p50": [23.5]}


def test_series_are_listed(here: Cli, service: str) -> None:
    body = here("metrics", "series", service, "--json").json
    assert {one["tags"]["host"] for one in body["series"]} == {"a", "b"}
    assert "host=b" in here("metrics", "series", service, "--tag", "host=b").out


def test_a_plot_fits_into_80_columns(cli: Cli, service: str) -> None:
    answer = cli("metrics", "plot", service, *RANGE, COLUMNS="80")
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line.startswith("avg(load)")] == [
        "avg(load) {host=a}",
        "avg(load) {host=b}",
    ]
    assert sum("12:00" in line for line in lines) == 2


def test_what_is_not_there_is_said(here: Cli) -> None:
    answer = here("metrics", "plot", "nobody-knows-it")
    assert (answer.code, answer.out) == (0, "")
    assert "no metrics of a service 'nobody-knows-it'" in answer.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--step", "0s"), "step must be positive"),
        (("--step", "never"), "cannot read step 'never'"),
        (("--tag", "host"), "expected key=value"),
        (("--aggregate", "mode"), "unknown aggregate 'mode'"),
        (("--since", "tomorrow"), "cannot read time"),
        (("--since", "1h", "--until", "2h"), "since must be before until"),
        (("--group", "host"), "group must be one of"),
    ],
    ids=str,
)
def test_a_bad_query_is_refused_before_a_store_is_opened(
    here: Cli, words: tuple[str, ...], complaint: str
) -> None:
    answer = here("metrics", "query", "web", *words)
    assert answer.code == 2
    assert complaint in answer.err


def drawn(values: Sequence[float | None], *, height: int = 8) -> list[str]:
    times = [START + n * STEP for n in range(len(values))]
    return plot(
        times,
        values,
        since=START,
        until=START + len(values) * STEP,
        step=STEP,
        width=60,
        height=height,
    )


def ink(lines: list[str], columns: slice) -> str:
    """What is drawn in these columns of the plot's area."""
    return "".join(line[9:].ljust(51)[columns] for line in lines[:-2]).strip()


def test_a_gap_in_the_values_is_a_gap_in_the_curve() -> None:
    values: list[float | None] = [1.0] * 51
    assert ink(drawn(values), slice(20, 30))
    values[20:31] = [None] * 11
    assert not ink(drawn(values), slice(21, 30))
    values[20:31] = [math.inf] * 11
    assert not ink(drawn(values), slice(21, 30))


def test_the_highest_value_is_drawn_above_the_lowest() -> None:
    lines = drawn([0.0] * 25 + [100.0] * 26)
    assert lines[-3].startswith("       0┤")
    assert lines[0].startswith("     100┤")
    assert lines[0][9:].strip() and lines[0][9:30].strip() == ""


def test_one_value_alone_and_none_at_all_are_drawn() -> None:
    assert ink(drawn([5.0]), slice(0, 51))
    assert not ink(drawn([None, None]), slice(0, 51))


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3, 17), (1e9, 1.5e9), (0.001, 0.0011), (-5e-9, 3e-9), (7, 7)]
)
def test_an_axis_has_room_for_its_values_and_few_round_ticks(low: float, high: float) -> None:
    first, last, ticks = value_axis([low, high], 14)
    assert first <= low and last >= high
    assert 2 <= len(ticks) <= 9
    assert all(len(short(tick)) <= 8 for tick in ticks)


def test_the_step_suits_range_and_width() -> None:
    assert plot_step(timedelta(hours=24), 80) == timedelta(minutes=15)
    assert plot_step(timedelta(days=3650), 80) == timedelta(days=28)
