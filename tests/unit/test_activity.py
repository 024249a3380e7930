"""What a store counts of itself."""

from __future__ import annotations

import pytest

from neo_polystore.activity import BOUNDS, MOST_NAMES, OTHER, Durations, Recorder
from neo_polystore.errors import ConflictError, NotFoundError, UnavailableError


def test_a_duration_is_counted_in_the_first_bucket_that_holds_it() -> None:
    durations = Durations()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.01, BOUNDS[-1], BOUNDS[-1] + 1):
        durations.add(seconds)
    assert durations.counts[:2] == [2, 1]
    assert durations.counts[-2:] == [1, 1]
    assert sum(durations.counts) == 5
    assert durations.seconds == pytest.approx(sum((BOUNDS[0] * 2.01, BOUNDS[-1] * 2 + 1)))


def test_a_statement_counts_whether_it_succeeds_or_not() -> None:
    recorder = Recorder()
    with recorder.statement("networks.find"):
        pass
    with pytest.raises(UnavailableError), recorder.statement("networks.find"):
        raise UnavailableError("away")
    with pytest.raises(KeyError), recorder.statement("networks.find"):
        raise KeyError("ours")
    assert sum(recorder.statements["networks.find"].counts) == 3
    assert dict(recorder.failures["networks.find"]) == {"UnavailableError": 1}


def test_what_is_not_there_is_no_failure() -> None:
    recorder = Recorder()
    recorder.failed("networks.get", NotFoundError("no record"))
    recorder.failed("networks.get", ConflictError("taken"))
    assert dict(recorder.failures["networks.get"]) == {"ConflictError": 1}


def test_names_made_of_data_share_one_count() -> None:
    recorder = Recorder()
    for number in range(10 * MOST_NAMES):
        recorder.statements[f"pay.{number}"].add(0.001)
    assert len(recorder.statements) == MOST_NAMES + 1
    assert sum(recorder.statements[OTHER].counts) == 9 * MOST_NAMES
    assert sum(sum(found.counts) for found in recorder.statements.values()) == 10 * MOST_NAMES
