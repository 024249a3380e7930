"""The benchmark runner: medians, turns, and a ratio that means the same in either direction."""

from __future__ import annotations

import pytest

from benchmarks.runner import Report, Side


def counting(figures: list[float], log: list[str], name: str) -> Side:
    """A side that answers the figures in order and writes down its turns."""
    left = iter(figures)

    async def side() -> float:
        log.append(name)
        return next(left)

    return side


async def test_the_ratio_is_of_medians_and_the_warm_up_does_not_count() -> None:
    log: list[str] = []
    found = await Report("x").compare(
        "speed",
        ours=counting([9999, 100, 300, 200], log, "ours"),
        reference=counting([9999, 50, 100, 900], log, "reference"),
        reference_is="a peer",
        unit="records/s",
        runs=3,
    )
    assert (found.ours, found.reference, found.ratio) == (200, 100, 2)
    assert log[2:] == ["ours", "reference", "reference", "ours", "ours", "reference"]


async def test_a_lower_figure_can_be_the_better_one() -> None:
    log: list[str] = []
    found = await Report("x").compare(
        "latency",
        ours=counting([1, 50, 50, 50], log, "ours"),
        reference=counting([1, 100, 100, 100], log, "reference"),
        reference_is="a peer",
        unit="microseconds",
        lower_is_better=True,
        runs=3,
    )
    assert found.ratio == 2


async def test_fewer_than_three_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="three"):
        await Report("x").compare(
            "speed",
            ours=counting([], [], ""),
            reference=counting([], [], ""),
            reference_is="",
            unit="",
            runs=2,
        )
