"""Which runs stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from neo_polystore.backup.prune import Rules, judge, remove
from neo_polystore.backup.runs import Run, list_runs
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.errors import UsageError

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)


def run(days: float, **more: object) -> Run:
    started = NOW - timedelta(days=days)
    facts = {"complete": True, "stores": ("postgres",), **more}
    return Run(f"{started:%Y%m%dT%H%M%S}-00000000", 1, **facts)  # type: ignore[arg-type]


def kept(runs: list[Run], rules: Rules) -> set[str]:
    return {verdict.run.id for verdict in judge(runs, rules, NOW) if verdict.keep}


def test_days_weeks_and_months_keep_their_newest_run() -> None:
    runs = [run(n / 2) for n in range(2 * 400)]
    stay = kept(runs, Rules(daily=7, weekly=4, monthly=12, least=1))
    days = sorted((NOW - r.started).days for r in runs if r.id in stay)
    assert days[:7] == [0, 1, 2, 3, 4, 5, 6]
    assert 7 + 4 + 12 - 4 <= len(stay) <= 7 + 4 + 12
    assert max(days) < 366


def test_the_last_runs_stay_however_old() -> None:
    runs = [run(1000 + n) for n in range(9)]
    assert kept(runs, Rules(0, 0, 0, least=3)) == {r.id for r in runs[:3]}


def test_the_newest_proven_run_stays() -> None:
    runs = [run(1), run(2), run(300, proven=("postgres",)), run(301, proven=("postgres",))]
    assert runs[2].id in kept(runs, Rules(0, 0, 0, least=1))
    assert runs[3].id not in kept(runs, Rules(0, 0, 0, least=1))


def test_a_later_run_of_one_store_stands_in_for_no_run_of_all() -> None:
    whole, part = run(0.2), run(0.1, scope="stores=tantivy")
    older = [run(n + 0.2) for n in range(1, 4)]
    stay = kept([whole, part, *older], Rules(2, 0, 0, least=1))
    assert stay == {whole.id, part.id, older[0].id}


def test_a_run_that_cannot_be_read_is_never_removed() -> None:
    assert kept([run(900, problem="another key")], Rules(0, 0, 0)) != set()


def test_an_unfinished_run_counts_for_nothing_and_goes_after_two_days() -> None:
    fresh, old, whole = run(1, complete=False), run(3, complete=False), run(900)
    assert kept([fresh, old, whole], Rules(0, 0, 0, least=1)) == {fresh.id, whole.id}


@pytest.mark.parametrize("rules", [{"least": 0}, {"daily": -1}])
def test_rules_that_keep_nothing_are_refused(rules: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        Rules(**rules)


def test_a_removed_run_is_gone_with_its_folder(tmp_path: Path) -> None:
    target = DirectoryTarget(tmp_path)
    for name in ("manifest.json", "postgres/t.a.b.000000.0.zst"):
        target.put(f"20260101/20260101T000000-00000000/{name}", b"x")
    remove(target, "20260101T000000-00000000")
    assert list_runs(target) == []
    assert list(tmp_path.iterdir()) == []
