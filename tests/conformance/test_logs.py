"""The logs port on every engine that serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.ports.logs import Logs
from neo_polystore.ports.store import Store
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.query import Filter, Query, encode_cursor
from neo_polystore.stores.elasticsearch.store import ElasticsearchStore
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.store import TantivyStore
from tests.conformance.records import RecordsSuite
from tests.opensearch.server import config_for

START = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["tantivy", "elasticsearch"])
async def logs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Logs]:
    """The port of each engine."""
    store: Store
    if request.param == "tantivy":
        store = TantivyStore(TantivyConfig(directory=tmp_path_factory.mktemp("logs")))
    else:
        store = ElasticsearchStore(config_for(request.getfixturevalue("elasticsearch_server")))
    await store.migrate()
    await store.connect()
    yield store.port("logs")
    await store.clear()
    await store.close()


def entry(group: str, message: str = "", **values: Any) -> LogEntry:
    """A line of its own."""
    return LogEntry.parse(
        {"id": str(uuid4()), "timestamp": START, "system": group, "message": message, **values}
    )


class TestLogs(RecordsSuite):
    """Log lines: immutable, found by word."""

    group = "system"
    ordered = "timestamp"

    @pytest.fixture
    async def port(self, logs: Logs) -> Logs:
        return logs

    def new_group(self) -> str:
        return f"system-{uuid4().hex}"

    def samples(self, count: int, *, group: str) -> Sequence[LogEntry]:
        return [
            entry(
                group,
                f"[error] mod_jk child {number} workerEnv in error state",
                timestamp=START - timedelta(microseconds=number // 2),
                level="error" if number % 2 else None,
                host=f"host-{number}",
                trace_id=f"{number:032x}",
                fields={"pid": str(number), "k8s.pod": "a=b\\c"},
            )
            for number in range(count)
        ]

    async def found(self, port: Logs, group: str, text: str) -> list[str]:
        page = await port.find(self.of_group(group, text=text))
        return sorted(found.message for found in page)

    async def test_an_immutable_record_keeps_its_first_value(self, port: Logs) -> None:
        first = entry(self.new_group(), "first")
        await port.write([first])
        written = await port.write([first.model_copy(update={"message": "second"})])
        assert (written.new, written.existing, written.replaced) == (0, 1, 0)
        assert (await port.get(first.key)).message == "first"

    async def test_of_one_key_in_a_batch_the_last_stands(self, port: Logs) -> None:
        first = entry(self.new_group(), "first")
        last = first.model_copy(update={"message": "last"})
        written = await port.write([first, last, last])
        assert (written.new, written.existing, written.replaced) == (1, 1, 1)
        assert (await port.get(first.key)).message == "last"

    async def test_equal_lines_with_other_ids_are_lines_of_their_own(self, port: Logs) -> None:
        group = self.new_group()
        await port.write([entry(group, "again"), entry(group, "again")])
        assert await port.count(self.of_group(group, text="again")) == 2

    @pytest.mark.parametrize(
        "message",
        ["[error] x", "Error: x", "an ERROR, really", "x=error", "error", "a-error-b", "(Error)"],
    )
    async def test_a_word_is_found_in_any_case_beside_punctuation(
        self, port: Logs, message: str
    ) -> None:
        group = self.new_group()
        await port.write([entry(group, message)])
        assert await self.found(port, group, "error") == [message]
        assert await self.found(port, group, "ERROR!") == [message]

    async def test_a_word_is_not_found_inside_a_longer_one(self, port: Logs) -> None:
        group = self.new_group()
        await port.write([entry(group, "errors terror error1 errör")])
        assert await self.found(port, group, "error") == []

    async def test_all_words_must_be_there_in_any_order(self, port: Logs) -> None:
        group = self.new_group()
        await port.write([entry(group, "disk is full"), entry(group, "disk is fine")])
        assert await self.found(port, group, "full disk") == ["disk is full"]

    async def test_words_of_other_alphabets_are_found(self, port: Logs) -> None:
        group = self.new_group()
        messages = ["Größe überschritten", "ошибка Диска", "ΣΊΣΥΦΟΣ", "ディスク 故障", "cafe\u0301"]
        await port.write([entry(group, message) for message in messages])
        for text, message in zip(
            ("GRÖSSE", "ОШИБКА диска", "σίσυφος", "故障", "CAFÉ"), messages, strict=True
        ):
            assert await self.found(port, group, text) == [message]

    async def test_long_words_are_found_whole(self, port: Logs) -> None:
        group = self.new_group()
        hash64, huge = "ab" * 32, "x" * 70_000 + "y"
        await port.write([entry(group, f"hash={hash64};"), entry(group, f"<{huge}>")])
        assert await self.found(port, group, hash64.upper()) == [f"hash={hash64};"]
        assert await self.found(port, group, huge) == [f"<{huge}>"]
        assert await self.found(port, group, huge[:-1]) == []

    async def test_query_syntax_in_the_text_means_nothing(self, port: Logs) -> None:
        group = self.new_group()
        await port.write([entry(group, "one OR two")])
        assert await self.found(port, group, "one AND two") == []
        assert await self.found(port, group, 'id:* OR "one') == []
        assert await self.found(port, group, "+one -(two) [or]") == ["one OR two"]

    async def test_a_text_without_a_word_is_refused(self, port: Logs) -> None:
        with pytest.raises(UsageError, match="no word"):
            await port.count(Query(text="[]!"))

    async def test_since_is_inclusive_and_until_exclusive(self, port: Logs) -> None:
        group = self.new_group()
        tick = timedelta(microseconds=1)
        lines = [entry(group, timestamp=START + n * tick) for n in range(3)]
        await port.write(lines)
        query = self.of_group(group, since=START, until=START + 2 * tick, order="timestamp")
        assert (await port.find(query)).records == lines[:2]

    async def test_old_and_future_lines_load_like_new(self, port: Logs) -> None:
        group = self.new_group()
        times = [datetime(1, 1, 1, tzinfo=UTC), START, datetime(9999, 12, 31, tzinfo=UTC)]
        await port.write([entry(group, timestamp=time) for time in times])
        page = await port.find(self.of_group(group, order="timestamp"))
        assert [found.timestamp for found in page] == times

    @pytest.mark.parametrize(
        ("field", "operator", "value", "expected"),
        [
            ("level", "eq", "ERROR", [1, 3]),
            ("level", "ne", "ERROR", [0, 2]),
            ("level", "eq", None, [0, 2]),
            ("level", "ne", None, [1, 3]),
            ("host", "ge", "host-2", [2, 3]),
            ("host", "lt", "host-2", [0, 1]),
            ("host", "prefix", "host-", [0, 1, 2, 3]),
            ("host", "prefix", "ost", []),
            ("trace_id", "eq", f"{2:032x}", [2]),
            ("fields.pid", "eq", "3", [3]),
            ("fields.pid", "ne", "3", [0, 1, 2]),
            ("fields.pid", "gt", "1", [2, 3]),
            ("fields.pid", "le", "1", [0, 1]),
            ("fields.k8s.pod", "eq", "a=b\\c", [0, 1, 2, 3]),
            ("fields.k8s.pod", "prefix", "a=b", [0, 1, 2, 3]),
            ("fields.pid", "ne", None, [0, 1, 2, 3]),
            ("fields.pi", "eq", None, [0, 1, 2, 3]),
            ("timestamp", "eq", START, [0, 1]),
            ("timestamp", "ne", START, [2, 3]),
            ("timestamp", "lt", START, [2, 3]),
            ("timestamp", "le", START, [0, 1, 2, 3]),
            ("timestamp", "gt", START, []),
            ("timestamp", "ge", START, [0, 1]),
        ],
    )
    async def test_a_filter_selects(
        self, port: Logs, field: str, operator: Any, value: Any, expected: list[int]
    ) -> None:
        group = self.new_group()
        await port.write(self.samples(4, group=group))
        page = await port.find(self.of_group(group).where(field, value, operator))
        assert sorted(int(found.fields["pid"]) for found in page) == expected

    async def test_ids_are_compared_as_text(self, port: Logs) -> None:
        group = self.new_group()
        ids = [f"{group}:{suffix}" for suffix in ("1", "10", "2", "é", "漢", "😀")]
        await port.write([entry(group, id=key) for key in ids])
        query = self.of_group(group)
        assert await port.distinct(query, "id") == ids
        assert await port.count(query.where("id", ids[2], "lt")) == 2
        assert await port.count(query.where("id", ids[2], "le")) == 3
        assert await port.count(query.where("id", ids[2], "gt")) == 3
        assert await port.count(query.where("id", ids[2], "ne")) == 5
        assert await port.count(query.where("id", f"{group}:1", "prefix")) == 2
        assert await port.count(query.where("id", "", "gt")) == 6

    async def test_equal_times_are_ordered_by_id_across_pages(self, port: Logs) -> None:
        group = self.new_group()
        lines = [entry(group, timestamp=START + timedelta(days=n // 5)) for n in range(12)]
        await port.write(lines)
        for descending in (False, True):
            expected = sorted(lines, key=lambda line: (line.timestamp, line.id), reverse=descending)
            seen, after = [], None
            for _ in range(6):
                query = self.of_group(
                    group, order="timestamp", descending=descending, limit=2, after=after
                )
                page = await port.find(query)
                seen += page.records
                after = page.next
            assert seen == expected
            assert after is None

    async def test_a_line_written_between_pages_moves_no_other(self, port: Logs) -> None:
        group = self.new_group()
        lines = [entry(group, id=f"{group}:{n}") for n in (1, 3, 5, 7)]
        await port.write(lines)
        first = await port.find(self.of_group(group, order="id", limit=2))
        await port.write([entry(group, id=f"{group}:{n}") for n in (0, 2)])
        rest = await port.find(self.of_group(group, order="id", limit=9, after=first.next))
        assert first.records + rest.records == lines

    async def test_values_are_listed_once(self, port: Logs) -> None:
        group = self.new_group()
        await port.write(self.samples(4, group=group))
        query = self.of_group(group)
        assert await port.distinct(query, "level") == ["ERROR"]
        assert await port.distinct(query, "fields.pid") == ["0", "1", "2", "3"]
        assert await port.distinct(query.where("fields.pid", "2"), "host") == ["host-2"]

    async def test_what_cannot_be_selected_or_summed_says_so(self, port: Logs) -> None:
        with pytest.raises(UnsupportedError, match="words"):
            await port.count(Query(filters=(Filter("message", "eq", "x"),)))
        with pytest.raises(UsageError, match="no number"):
            await port.sum(Query(), "system")

    @pytest.mark.parametrize("time", [2**62, -(2**62), 1.5, "1", None])
    async def test_a_cursor_that_nobody_gave_is_refused(self, port: Logs, time: object) -> None:
        query = Query(order="timestamp", after=encode_cursor([time, "id"]))
        with pytest.raises(UsageError, match="cursor"):
            await port.find(query)

    async def test_a_cursor_of_another_order_is_refused(self, port: Logs) -> None:
        group = self.new_group()
        await port.write(self.samples(3, group=group))
        page = await port.find(self.of_group(group, order="system", limit=1))
        with pytest.raises(UsageError, match="cursor"):
            await port.find(self.of_group(group, order="timestamp", after=page.next))
