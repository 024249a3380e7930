"""What is particular to tantivy: days, reopening, shared commits, health."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import pytest_asyncio
import tantivy

from neo_polystore.errors import NotFoundError, UnavailableError
from neo_polystore.records.query import Query
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.store import TantivyStore
from tests.stores.tantivy.writing import line


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[TantivyStore]:
    opened = TantivyStore(TantivyConfig(directory=tmp_path / "deep" / "logs"), now=clock)
    await opened.connect()
    yield opened
    await opened.close()


def days(store: TantivyStore) -> list[str]:
    return sorted(path.name for path in store.config.directory.iterdir() if path.is_dir())


async def test_a_line_goes_to_the_utc_day_of_its_arrival(store: TantivyStore, clock: Clock) -> None:
    await store.port("logs").write([line("a", 1)])
    clock.now = datetime(2026, 3, 2, 1, tzinfo=timezone(timedelta(hours=2)))
    await store.port("logs").write([line("a", 2)])
    clock.now = datetime(2026, 3, 2, 0, tzinfo=UTC)
    await store.port("logs").write([line("a", 3)])
    assert days(store) == ["2026-03-01", "2026-03-02"]


async def test_an_id_is_known_on_every_later_day(store: TantivyStore, clock: Clock) -> None:
    lines = [line("a", number) for number in range(10)]
    await store.port("logs").write(lines)
    clock.now += timedelta(days=1)
    written = await store.port("logs").write([*lines, line("a", 10)])
    assert (written.new, written.existing) == (1, 10)


async def test_pages_run_over_all_days_in_one_order(store: TantivyStore, clock: Clock) -> None:
    lines = [line("a", number) for number in range(20)]
    for number in range(20):
        await store.port("logs").write([lines[number]])
        clock.now += timedelta(hours=8)
    seen, after = [], None
    for _ in range(7):
        page = await store.port("logs").find(Query(order="timestamp", limit=3, after=after))
        seen += page.records
        after = page.next
    assert seen == sorted(lines, key=lambda one: one.id)
    assert after is None


async def test_a_removed_day_is_gone_and_the_others_stay(store: TantivyStore, clock: Clock) -> None:
    await store.port("logs").write([line("a", 1)])
    clock.now += timedelta(days=1)
    await store.port("logs").write([line("a", 2)])
    shutil.rmtree(store.config.directory / "2026-03-01")
    assert await store.port("logs").count(Query()) == 1
    with pytest.raises(NotFoundError):
        await store.port("logs").get("a:1")


async def test_a_reopened_store_has_everything(store: TantivyStore) -> None:
    lines = [line("a", number) for number in range(10)]
    await store.port("logs").write(lines)
    await store.close()
    again = TantivyStore(store.config)
    await again.connect()
    assert (await again.port("logs").find(Query())).records == lines
    await again.close()


async def test_a_day_that_was_never_committed_is_made_anew(store: TantivyStore) -> None:
    left = store.config.directory / "2026-03-01"
    left.mkdir()
    (left / ".managed.json").write_text("[")
    assert await store.port("logs").count(Query()) == 0
    assert (await store.port("logs").write([line("a", 1)])).new == 1


async def test_waiting_calls_share_a_commit_and_get_their_own_counts(store: TantivyStore) -> None:
    calls = [[line("a", number), line("a", number + 1)] for number in range(50)]
    answers = await asyncio.gather(*(store.port("logs").write(call) for call in calls))
    assert sum(answer.new for answer in answers) == 51
    assert sum(answer.existing for answer in answers) == 49
    meta = (store.config.directory / "2026-03-01" / "meta.json").read_text()
    assert meta.count("segment_id") <= 2


async def test_closing_finishes_what_was_accepted(store: TantivyStore) -> None:
    write = asyncio.create_task(store.port("logs").write([line("a", 1)]))
    await asyncio.sleep(0)
    await store.close()
    assert (await write).new == 1


async def test_a_cancelled_call_harms_no_other(store: TantivyStore) -> None:
    calls = [asyncio.create_task(store.port("logs").write([line("a", n)])) for n in range(3)]
    await asyncio.sleep(0)
    calls[0].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    for number in (1, 2):
        assert (await store.port("logs").get(f"a:{number}")).system == "a"


async def test_many_small_batches_do_not_pile_up_segments(store: TantivyStore) -> None:
    for number in range(40):
        await store.port("logs").write([line("a", number)])
    health = await store.health()
    assert health.facts["documents"] == 40
    assert health.facts["segments"] < 16


async def test_health_reports_documents_segments_and_bytes(store: TantivyStore) -> None:
    await store.port("logs").write([line("a", 1)])
    health = await store.health()
    assert health.status == "healthy"
    assert health.version
    assert health.facts["documents"] == health.facts["segments"] == health.facts["days"] == 1
    assert health.facts["bytes"] > 0


async def test_health_of_a_lost_directory_is_unhealthy(store: TantivyStore) -> None:
    shutil.rmtree(store.config.directory)
    health = await store.health()
    assert health.status == "unhealthy"
    assert "No such file" in health.detail


async def test_an_unusable_directory_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = TantivyStore(TantivyConfig(directory=tmp_path / "file" / "logs"))
    with pytest.raises(UnavailableError, match="Not a directory"):
        await broken.connect()


async def test_a_store_that_is_not_connected_says_so(tmp_path: Path) -> None:
    closed = TantivyStore(TantivyConfig(directory=tmp_path))
    with pytest.raises(UnavailableError, match="not connected"):
        await closed.port("logs").count(Query())
    with pytest.raises(UnavailableError, match="not connected"):
        await closed.port("logs").write([line("a", 1)])
    await closed.close()


async def test_the_witness_counts_ids_in_indexes_opened_anew(store: TantivyStore) -> None:
    await store.port("logs").write([line("a", 1), line("a", 2)])
    assert await store.witness("logs", ["a:1", "a:2", "a:3"]) == 2


async def test_tantivy_itself_finds_a_line_by_its_terms(store: TantivyStore) -> None:
    await store.port("logs").write([line("a", 1)])
    index = tantivy.Index.open(str(store.config.directory / "2026-03-01"))
    assert len(index.searcher().search(index.parse_query('id:"a:1" AND system:a')).hits) == 1


async def test_migrating_needs_nothing(store: TantivyStore) -> None:
    report = await store.migrate()
    assert report.not_applicable


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_open_files_do_not_grow_with_commits(store: TantivyStore) -> None:
    for number in range(3):
        await store.port("logs").write([line("a", number)])
    before = open_files()
    for number in range(3, 23):
        await store.port("logs").write([line("a", number)])
        await store.port("logs").count(Query())
    assert open_files() <= before + 4
