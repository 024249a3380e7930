"""Counting and batching on the way from files to a store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from neo_polystore.errors import UnavailableError
from neo_polystore.loaders import pipeline
from neo_polystore.loaders.base import LoadOptions
from neo_polystore.loaders.jobs import plan, read_job
from neo_polystore.loaders.pipeline import LoadReport, Rejected, run_jobs
from neo_polystore.records.results import Rejection, Written

OPTIONS = LoadOptions(chain_id=1, service="api", system="app")


class Shelf:
    """Takes batches, refuses values below zero, and remembers the sizes of the batches."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] = {}
        self.sizes: list[int] = []

    async def write(self, records: Sequence[Any]) -> Written:
        await asyncio.sleep(0)
        self.sizes.append(len(records))
        written = Written()
        for index, record in enumerate(records):
            if record.value < 0:
                written.rejected.append(Rejection(index, "value", "too cold"))
            elif record.key not in self.stored:
                written.new += 1
            elif self.stored[record.key] == record:
                written.existing += 1
            else:
                written.replaced += 1
            if record.value >= 0:
                self.stored[record.key] = record
        return written


def total(report: LoadReport) -> int:
    return report.new + report.existing + report.replaced + len(report.rejected)


async def load(shelf: Shelf, *paths: Path) -> LoadReport:
    return await run_jobs("metrics", plan("metrics", paths, OPTIONS), OPTIONS, shelf.write)


def points(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["timestamp,value", *rows]))
    return path


async def test_every_record_is_counted_exactly_once(tmp_path: Path) -> None:
    path = points(tmp_path / "p.csv", "1,1", "2,-1", "2,x", "3,3", "1,1", "3,4")
    report = await load(Shelf(), path)
    assert (report.read, report.new, report.existing, report.replaced) == (6, 2, 1, 1)
    assert total(report) == report.read


async def test_rejections_of_loader_and_store_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = points(tmp_path / "p.csv", "1,1", "2,-1", "2,x", "3,-3", "y,4")
    report = await load(Shelf(), path)
    assert [(r.record, r.field) for r in report.rejected] == [
        (2, "value"),
        (3, "value"),
        (4, "value"),
        (5, "timestamp"),
    ]
    assert report.rejected[0] == Rejected(str(path), 2, "value", "too cold")


async def test_rejections_name_their_file_across_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline.BATCH_RECORDS, "metrics", 3)
    paths = [points(tmp_path / f"{n}.csv", "1,1", "2,-1") for n in range(5)]
    report = await load(Shelf(), *paths)
    assert [(Path(r.file).name, r.record) for r in report.rejected] == [
        (f"{n}.csv", 2) for n in range(5)
    ]


async def test_a_file_that_cannot_be_loaded_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "wrong.csv").write_text("when,what\n1,2\n")
    good = points(tmp_path / "p.csv", "1,1")
    report = await load(Shelf(), tmp_path / "empty", tmp_path, tmp_path / "wrong.csv", good)
    assert (report.read, report.new) == (4, 1)
    assert [(Path(r.file).name, r.record) for r in report.rejected] == [
        ("empty", 0),
        (tmp_path.name, 0),
        ("wrong.csv", 0),
    ]


async def test_small_files_share_a_batch(tmp_path: Path) -> None:
    shelf = Shelf()
    await load(shelf, *(points(tmp_path / f"{n}.csv", "1,1") for n in range(20)))
    assert shelf.sizes == [20]


async def test_a_batch_ends_after_so_many_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline.BATCH_RECORDS, "metrics", 4)
    shelf = Shelf()
    await load(shelf, points(tmp_path / "p.csv", *(f"{n},1" for n in range(10))))
    assert shelf.sizes == [4, 4, 2]


async def test_a_batch_ends_after_so_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BATCH_BYTES", 100_000)
    shelf = Shelf()
    rows = (f"{n},{'1' * 100}" for n in range(8000))
    await load(shelf, points(tmp_path / "p.csv", *rows))
    assert sum(shelf.sizes) == 8000
    assert max(shelf.sizes) < 4000


async def test_progress_reaches_the_size_of_all_files(tmp_path: Path) -> None:
    paths = [points(tmp_path / f"{n}.csv", "1,1") for n in range(3)]
    heard: list[int] = []
    jobs = plan("metrics", paths, OPTIONS)
    await run_jobs("metrics", jobs, OPTIONS, Shelf().write, progress=heard.append)
    assert heard[-1] == sum(path.stat().st_size for path in paths)


async def test_what_the_store_raises_ends_the_load(tmp_path: Path) -> None:
    async def refuse(records: Sequence[Any]) -> Written:
        raise UnavailableError("down")

    jobs = plan("metrics", [points(tmp_path / "p.csv", "1,1")], OPTIONS)
    with pytest.raises(UnavailableError, match="down"):
        await run_jobs("metrics", jobs, OPTIONS, refuse)


async def test_reading_goes_on_while_the_store_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pipeline.BATCH_RECORDS, "metrics", 1)
    path = points(tmp_path / "p.csv", "1,1", "2,2")
    jobs = plan("metrics", [path], OPTIONS)
    reader_went_on = asyncio.Event()
    loop = asyncio.get_running_loop()
    read = read_job

    def watched(*arguments: Any) -> Any:
        for item in read(*arguments):
            if item.number == 2:
                loop.call_soon_threadsafe(reader_went_on.set)
            yield item

    async def write(records: Sequence[Any]) -> Written:
        await asyncio.wait_for(reader_went_on.wait(), 10)  # only reading ahead sets it
        return Written(new=len(records))

    monkeypatch.setattr(pipeline, "read_job", watched)
    assert (await run_jobs("metrics", jobs, OPTIONS, write)).new == 2


async def test_a_name_that_is_not_utf8_is_told_readably(tmp_path: Path) -> None:
    path = Path(str(tmp_path) + "/caf\udce9.csv")
    report = await load(Shelf(), path)
    assert report.rejected[0].file.endswith("caf?.csv")
