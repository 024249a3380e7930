"""Names of WAL files and the way of timelines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_polystore.errors import BackupError, IntegrityError
from neo_polystore.pitr.names import (
    Segment,
    Stretch,
    check_name,
    history_of,
    lsn,
    position,
    segment_of,
    way_to,
)

SIZES = st.sampled_from([1 << 20, 16 << 20, 1 << 30])


@given(st.integers(1, 2**32 - 1), st.integers(0, 2**64 - 1), SIZES)
def test_a_segment_is_named_and_found_again(timeline: int, at: int, size: int) -> None:
    segment = Segment(timeline, at // size)
    assert segment_of(check_name(segment.name(size)), size) == segment


@given(st.integers(0, 2**64 - 1))
def test_a_position_is_written_and_read_again(at: int) -> None:
    assert position(lsn(at)) == at


def test_names_are_those_of_postgresql() -> None:
    assert Segment(1, 0x105).name() == "000000010000000100000005"
    assert segment_of("0000000200000001000000FF.partial") == Segment(2, 0x1FF)
    assert history_of("0000000A.history") == 10
    assert segment_of("0000000A.history") is None
    check_name("000000010000000100000005.00000028.backup")


@pytest.mark.parametrize(
    "text", ["", "..", "../000000010000000100000005", "00000001000000010000000G", "x.history",
             "000000010000000100000005.gz", "000000010000000100000005\n"],
)  # fmt: skip
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(BackupError, match="no name"):
        check_name(text)


def test_the_way_leads_through_the_parents() -> None:
    histories = {3: "1\t0/3000148\tat restore point\n\n2\t0/5000000\tbefore 2026\n"}
    assert way_to(3, histories) == [
        Stretch(1, 0, 0x3000148),
        Stretch(2, 0x3000148, 0x5000000),
        Stretch(3, 0x5000000, None),
    ]
    assert way_to(1, {}) == [Stretch(1, 0, None)]


def test_a_timeline_without_its_history_leads_nowhere() -> None:
    with pytest.raises(BackupError, match="no history of timeline 2"):
        way_to(2, {})
    with pytest.raises(IntegrityError, match="a line that is none"):
        way_to(2, {2: "1\tsomewhere\n"})
