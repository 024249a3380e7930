"""What every record port does, whatever engine stands behind it: one fact per test.

A suite for one data type subclasses `RecordsSuite`, gives samples, and runs once per engine.
Ports are shared by the tests of a suite: each test works on keys of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from neo_polystore.errors import NotFoundError, UsageError
from neo_polystore.ports.records import Records
from neo_polystore.records.query import Query, parse_condition


class RecordsSuite:
    """Subclasses implement the `port` fixture, `samples` and, where it applies, `changed`.

    `group` is a field whose value `samples(group=...)` sets, so that a test can ask for its own
    records and no others; `ordered` is an orderable field that differs between samples.
    """

    group: ClassVar[str]
    ordered: ClassVar[str]
    summable: ClassVar[str | None] = None
    mutable: ClassVar[bool] = False

    @pytest.fixture
    async def port(self) -> Records[Any]:
        """The port under test, within a scope that may do everything."""
        raise NotImplementedError

    def samples(self, count: int, *, group: str) -> Sequence[Any]:
        """`count` valid records with different keys, all with the given group value."""
        raise NotImplementedError

    def changed(self, record: Any) -> Any:
        """The same key with another value (mutable data types)."""
        raise NotImplementedError

    def new_group(self) -> str:
        """A group value that no other test uses."""
        raise NotImplementedError

    def comparable(self, record: Any) -> Any:
        """The record without what the store assigns."""
        return record

    def of_group(self, group: str, **options: Any) -> Query:
        """The query for one group's records."""
        return Query(
            filters=(parse_condition(self.record_type(), f"{self.group}={group}"),), **options
        )

    def record_type(self) -> Any:
        """The record model, from a sample."""
        return type(self.samples(1, group=self.new_group())[0])

    async def test_a_written_record_is_read_back_unchanged(self, port: Records[Any]) -> None:
        [record] = self.samples(1, group=self.new_group())
        written = await port.write([record])
        assert (written.new, written.existing, written.rejected) == (1, 0, [])
        assert self.comparable(await port.get(record.key)) == self.comparable(record)

    async def test_writing_the_same_again_adds_nothing(self, port: Records[Any]) -> None:
        group = self.new_group()
        records = self.samples(5, group=group)
        await port.write(records)
        again = await port.write(records)
        assert (again.new, again.existing, again.replaced) == (0, 5, 0)
        assert await port.count(self.of_group(group)) == 5

    async def test_the_same_record_twice_in_one_batch_is_stored_once(
        self, port: Records[Any]
    ) -> None:
        group = self.new_group()
        [record] = self.samples(1, group=group)
        written = await port.write([record, record])
        assert (written.new, written.existing) == (1, 1)
        assert await port.count(self.of_group(group)) == 1

    async def test_another_value_replaces_or_keeps_as_declared(self, port: Records[Any]) -> None:
        if not self.mutable:
            pytest.skip("immutable data type")
        [record] = self.samples(1, group=self.new_group())
        await port.write([record])
        changed = self.changed(record)
        written = await port.write([changed])
        assert (written.new, written.existing, written.replaced) == (0, 0, 1)
        assert self.comparable(await port.get(record.key)) == self.comparable(changed)

    async def test_an_empty_batch_is_fine(self, port: Records[Any]) -> None:
        written = await port.write([])
        assert (written.new, written.existing, written.rejected) == (0, 0, [])

    async def test_a_missing_key_is_not_found(self, port: Records[Any]) -> None:
        [record] = self.samples(1, group=self.new_group())
        with pytest.raises(NotFoundError):
            await port.get(record.key)

    async def test_a_key_that_cannot_be_one_is_not_found(self, port: Records[Any]) -> None:
        with pytest.raises(NotFoundError):
            await port.get("no such key, 'quoted' and all")

    async def test_pages_visit_every_record_once(self, port: Records[Any]) -> None:
        group = self.new_group()
        records = self.samples(7, group=group)
        await port.write(records)
        for descending in (False, True):
            for order in (None, self.ordered):
                seen: list[str] = []
                after = None
                while True:
                    page = await port.find(
                        self.of_group(
                            group, order=order, descending=descending, limit=3, after=after
                        )
                    )
                    assert len(page) <= 3
                    seen += [record.key for record in page]
                    after = page.next
                    if after is None:
                        break
                assert sorted(seen) == sorted(record.key for record in records)

    async def test_order_is_by_the_field(self, port: Records[Any]) -> None:
        group = self.new_group()
        await port.write(self.samples(6, group=group))
        page = await port.find(self.of_group(group, order=self.ordered, descending=True))
        values = [getattr(record, self.ordered) for record in page]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) > 1

    async def test_a_cursor_of_another_query_is_refused(self, port: Records[Any]) -> None:
        with pytest.raises(UsageError, match="cursor"):
            await port.find(Query(after="bm9uc2Vuc2U"))

    async def test_an_unknown_field_is_refused(self, port: Records[Any]) -> None:
        from neo_polystore.records.query import Filter

        if port.record.model_config.get("extra") == "allow":
            pytest.skip("documents have fields of their own")
        with pytest.raises(UsageError, match="nonsense"):
            await port.count(Query(filters=(Filter("nonsense", "eq", "x"),)))

    async def test_distinct_values_are_sorted(self, port: Records[Any]) -> None:
        group = self.new_group()
        records = self.samples(4, group=group)
        await port.write(records)
        values = await port.distinct(self.of_group(group), self.ordered)
        assert values == sorted({getattr(record, self.ordered) for record in records})

    async def test_sums_are_exact(self, port: Records[Any]) -> None:
        if self.summable is None:
            pytest.skip("no number to sum")
        group = self.new_group()
        records = self.samples(5, group=group)
        await port.write(records)
        total = await port.sum(self.of_group(group), self.summable)
        assert total == sum(getattr(record, self.summable) for record in records)
        assert await port.sum(self.of_group(self.new_group()), self.summable) == 0

    async def test_text_with_sql_in_it_is_only_text(self, port: Records[Any]) -> None:
        hostile = "'; DROP TABLE x; --"
        if self.record_type().model_fields[self.group].annotation is not str:
            pytest.skip("the group field is not text")
        # past the parser, which would refuse it for some fields (an address is hexadecimal)
        assert await port.count(Query().where(self.group, hostile)) == 0
