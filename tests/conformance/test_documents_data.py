"""Real audit logs and contracts in every engine, with what is known of them.

The folder of public data that NEO_TEST_DATA names has them, with their source and licence; it is
no part of this project. Without it these tests are skipped.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from neo_polystore.ports.documents import Documents
from neo_polystore.records.conditions import sort_values
from neo_polystore.records.paging import each
from neo_polystore.records.query import Query, parse_condition
from tests.conformance.documents import Engine, each_engine
from tests.conftest import MakeDatabase
from tests.unit.loading import records

FOLDER = "NEO_TEST_DATA"


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the data is."""
    if FOLDER not in os.environ:
        pytest.skip(f"no public data: {FOLDER} names no folder")
    return Path(os.environ[FOLDER])


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["jsonb", "mongo"])
async def engine(
    request: pytest.FixtureRequest, make_database: MakeDatabase, folder: Path
) -> AsyncIterator[Engine]:
    """Each engine that serves documents."""
    async for engine in each_engine(request, make_database):
        yield engine


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def audit(engine: Engine, folder: Path) -> Documents:
    """The audit log with all CloudTrail files in it."""
    port: Documents = engine.store.port("audit_logs")
    files = sorted((folder / "audit" / "cloudtrail").glob("*.json"))
    loaded = [record for path in files for record in records("audit_logs", path)]
    assert len(files) == 27
    assert (await port.write(loaded)).new == 1_286
    assert (await port.write(loaded)).existing == 1_286
    return port


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def contracts(engine: Engine, folder: Path) -> Documents:
    """The contract metadata with all ABIs, metadata files and artifacts in it."""
    port: Documents = engine.store.port("contract_metadata")
    files = sorted((folder / "contracts").rglob("*.json"))
    loaded = []
    for path in files:
        network = path.relative_to(folder / "contracts").parts[0]
        loaded += records("contract_metadata", path, network=network)
    written = await port.write(loaded)
    assert (written.new, written.rejected) == (26, [])
    return port


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the README's table whose first column has this heading."""
    _, _, rest = text.partition(f"| {heading} |")
    lines = rest.splitlines()[2:]
    end = next((n for n, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:end]]


async def counted(port: Documents, field: str) -> Counter[Any]:
    """How many entries have each value of a field."""
    query = Query(limit=1_000)
    found: Counter[Any] = Counter()
    while True:
        page = await port.project(query, [field])
        found.update(row[field] for row in page if field in row)
        if page.next is None:
            break
        query = replace(query, after=page.next)
    assert sort_values(list(found)) == await port.distinct(Query(), field)
    return found


async def test_the_audit_log_has_every_event_once(audit: Documents) -> None:
    ids, times = set(), []
    async for record in each(audit.find, Query(order="timestamp", limit=100)):
        ids.add(record.key)
        times.append(record.body()["timestamp"])
    assert len(ids) == 1_286
    assert times == sorted(times)
    assert (times[0].isoformat(), times[-1].isoformat()) == (
        "2023-07-10T11:42:18+00:00",
        "2023-07-10T12:37:50+00:00",
    )


async def test_sources_and_names_are_as_often_as_known(audit: Documents) -> None:
    sources = await counted(audit, "resource")
    assert len(sources) == 21
    assert sources.most_common(6) == [
        ("ec2.amazonaws.com", 367),
        ("ssm.amazonaws.com", 205),
        ("iam.amazonaws.com", 203),
        ("s3.amazonaws.com", 150),
        ("kms.amazonaws.com", 114),
        ("secretsmanager.amazonaws.com", 83),
    ]
    names = await counted(audit, "event_name")
    assert len(names) == 191
    assert names.most_common(3) == [
        ("Decrypt", 85),
        ("DescribeRouteTables", 69),
        ("DescribeParameters", 68),
    ]


async def test_errors_addresses_and_agents_are_as_often_as_known(audit: Documents) -> None:
    errors = await counted(audit, "error_code")
    assert (errors.total(), errors["ThrottlingException"]) == (135, 39)
    assert errors["Client.UnauthorizedOperation"] == 20
    addresses = await counted(audit, "ip_address")
    assert (len(addresses), addresses["192.168.10.20"]) == (15, 1_010)
    assert await audit.count(Query().where("ip_address", "192.168.10.20")) == 1_010
    assert len(await audit.distinct(Query(), "user_agent")) == 111
    assert await counted(audit, "event_version") == {"1.08": 1_268, "1.09": 18}
    assert await audit.count(Query().where("read_only", True)) == 1_061
    assert await counted(audit, "user_identity.type") == {
        "IAMUser": 1_233,
        "AssumedRole": 33,
        "AWSService": 17,
    }


async def test_the_audit_log_is_searched_by_word_and_minute(audit: Documents) -> None:
    assert await audit.count(Query(text="KMS amazonaws")) == 114
    minute = parse_condition(audit.record, "timestamp>=2023-07-10T12:07:00Z")
    end = parse_condition(audit.record, "timestamp<2023-07-10T12:08:00Z")
    assert await audit.count(Query(filters=(minute, end))) == 234


async def test_signatures_selectors_and_topics_agree_with_the_table(
    contracts: Documents, folder: Path
) -> None:
    rows = table((folder / "README.md").read_text(), "ABI")
    assert len(rows) == 10
    for abi, functions, events, errors, _, _, function, event in rows:
        name = abi.rpartition("/")[2]
        query = Query().where("network", "abi").where("name", name)
        [body] = [record.body() for record in await contracts.find(query)]
        counts = [len(body[field]) for field in ("functions", "events", "errors")]
        assert (abi, counts) == (abi, [int(functions), int(events), int(errors)])
        signature, selector = function.split()
        assert body["functions"][0] == signature
        assert body["selectors"][0] == selector
        found = await contracts.find(Query().where("network", "abi").where("selectors", selector))
        assert name in {record.body()["name"] for record in found}
        if event != "-":
            signature, topic = event.split()
            assert (body["events"][0], body["topics"][0]) == (signature, topic)
            assert await contracts.count(Query().where("topics", topic)) > 0


@pytest.mark.parametrize(
    ("heading", "network"), [("Metadata", "metadata"), ("Artifact", "artifacts")]
)
async def test_metadata_and_artifacts_have_as_many_members_as_known(
    contracts: Documents, folder: Path, heading: str, network: str
) -> None:
    wanted = []
    for row in table((folder / "README.md").read_text(), heading):
        [numbers] = [cell for cell in row if re.fullmatch(r"\d+ / \d+( / \d+)?", cell)]
        wanted.append([int(number) for number in numbers.split("/")][:2])
    found = await contracts.find(Query().where("network", network))
    counts = [[len(r.body()["functions"]), len(r.body()["events"])] for r in found]
    assert sorted(counts) == sorted(wanted)
    assert wanted


async def test_a_transfer_is_found_in_every_token(contracts: Documents) -> None:
    query = Query().where("functions", "transfer(address,uint256)")
    assert await contracts.count(query) == await contracts.count(
        Query().where("selectors", "0xa9059cbb")
    )
    assert await contracts.count(query) > 5
