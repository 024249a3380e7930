"""`neo-polystore load` on a real data directory: what goes in, what is counted, how it ends."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.cli.conftest import Answer, Cli

MAINNET = "990001"


@pytest.fixture(scope="session")
def samples(data: Path) -> Path:
    """The folder of sample files."""
    return data / "load"


@pytest.fixture(scope="session")
def chain(here: Cli, samples: Path) -> str:
    """The id of a chain that is known to the platform."""
    assert here("load", "networks", str(samples / "chain.json")).code == 0
    return MAINNET


def counts(answer: Answer) -> tuple[int, int, int, int]:
    """read, new, existing, replaced of a load in which every record is accounted for."""
    found = answer.json
    assert set(found) == {"read", "new", "existing", "replaced", "rejected", "notes"}
    done = found["new"] + found["existing"] + found["replaced"] + len(found["rejected"])
    assert found["read"] == done
    return found["read"], found["new"], found["existing"], found["replaced"]


def unique(samples: Path, name: str, target: Path, old: str) -> Path:
    """A copy of a sample in which `old` is a text that no other test uses."""
    path = target / name
    path.write_text((samples / name).read_text().replace(old, uuid4().hex[: len(old)]))
    return path


def test_the_same_file_twice_adds_nothing(here: Cli, samples: Path, chain: str) -> None:
    words = (
        "load",
        "transactions",
        str(samples / "transactions.csv"),
        "--chain-id",
        chain,
        "--json",
    )
    here(*words)
    again = here(*words)
    assert (again.code, counts(again)) == (0, (3, 0, 3, 0))


def test_csv_and_json_lines_of_the_same_transactions_are_the_same(
    here: Cli, samples: Path, chain: str
) -> None:
    here("load", "transactions", str(samples / "transactions.csv"), "--chain-id", chain)
    path = str(samples / "transactions.json")
    again = here("load", "transactions", path, "--chain-id", chain, "--json")
    assert counts(again) == (3, 0, 3, 0)


def test_receipts_complete_transactions(here: Cli, samples: Path, chain: str) -> None:
    here("load", "transactions", str(samples / "transactions.csv"), "--chain-id", chain)
    words = ("load", "receipts", str(samples / "receipts.csv"), "--chain-id", chain, "--json")
    here(*words)
    assert counts(here(*words)) == (3, 0, 3, 0)
    where = ("--where", f"chain_id={chain}")
    failed = here("query", "transactions", *where, "--where", "status=failed", "--count", "--json")
    assert failed.json == {"count": 1}
    total = here("query", "transactions", *where, "--sum", "value", "--json")
    assert total.json == {"sum": str(10**24 + 7 + 2**64)}


def test_a_receipt_without_its_transaction_is_rejected(
    here: Cli, samples: Path, chain: str, tmp_path: Path
) -> None:
    head, row = (samples / "receipts.csv").read_text().splitlines()[:2]
    (tmp_path / "r.csv").write_text(f"{head}\n0x{uuid4().hex * 2}{row[66:]}\n")
    answer = here("load", "receipts", str(tmp_path / "r.csv"), "--chain-id", chain, "--json")
    assert (answer.code, counts(answer)) == (1, (1, 0, 0, 0))
    assert answer.json["rejected"][0]["record"] == 1


@pytest.mark.parametrize(
    ("data_type", "name", "options", "read"),
    [
        ("networks", "chain.json", (), 1),
        ("wallets", "genesis.json", (), 4),
        ("contracts", "contracts.csv", ("--chain-id", MAINNET), 3),
        ("metrics", "points.csv", ("--service", "cli-load"), 4),
        ("logs", "app.log", ("--system", "cli-load"), 6),
        ("audit_logs", "cloudtrail.json", (), 5),
        ("contract_metadata", "abi.json", (), 1),
        ("contract_metadata", "metadata.json", ("--network", "cli-load"), 1),
        ("contract_metadata", "artifact.json", (), 1),
        ("events", "events.jsonl", (), 3),
    ],
)
def test_every_format_loads_and_loads_again_without_adding(
    here: Cli,
    samples: Path,
    chain: str,
    data_type: str,
    name: str,
    options: tuple[str, ...],
    read: int,
) -> None:
    words = ("load", data_type, str(samples / name), *options, "--json")
    first, again = here(*words), here(*words)
    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert counts(first)[0] == read
    assert (counts(again)[0], counts(again)[1]) == (read, 0)


@pytest.mark.parametrize(
    ("data_type", "record"),
    [
        ("analytics", {"timestamp": "2024-05-01T00:00:00Z", "fact_type": "sale", "value": "1.25"}),
        ("objects", {"bucket": "cli-load", "name": "a.txt", "content": "aGVsbG8="}),
        ("sealed", {"enclave_id": "e", "policy": "MRENCLAVE", "mac": "ab" * 32, "blob": "AAEC"}),
        ("accounts", {"email": "{key}@example.org", "username": "{key}"}),
    ],
)
def test_data_types_without_a_foreign_format_load_from_our_own_json(
    here: Cli, tmp_path: Path, data_type: str, record: dict[str, Any]
) -> None:
    key = uuid4().hex
    named = {name: value.replace("{key}", key) for name, value in record.items()}
    keys = {
        "analytics": {"id": str(uuid4()), "subject": key},
        "objects": {"name": key},
        "sealed": {"data_key": key},
        "accounts": {"id": str(uuid4())},
    }
    (tmp_path / "r.jsonl").write_text(json.dumps(named | keys[data_type]) + "\n")
    words = ("load", data_type, str(tmp_path / "r.jsonl"), "--json")
    assert counts(here(*words)) == (1, 1, 0, 0)
    assert counts(here(*words)) == (1, 0, 1, 0)


def test_what_query_prints_loads_again(
    here: Cli, samples: Path, chain: str, tmp_path: Path
) -> None:
    here("load", "transactions", str(samples / "transactions.csv"), "--chain-id", chain)
    shown = here("query", "transactions", "--where", f"chain_id={chain}", "--json")
    (tmp_path / "shown.json").write_text(shown.out)
    again = here("load", "transactions", str(tmp_path / "shown.json"), "--json")
    assert (again.code, counts(again)) == (0, (3, 0, 3, 0))


def test_the_last_value_of_a_series_and_time_stands(here: Cli, tmp_path: Path) -> None:
    service = uuid4().hex
    path = tmp_path / "cpu.csv"
    path.write_text("timestamp,value\n2024-01-01 00:00:00,1\n2024-01-01 00:00:00,2\n")
    answer = here("load", "metrics", str(path), "--service", service, "--json")
    assert counts(answer) == (2, 1, 0, 1)
    shown = here("query", "metrics", "--where", f"service={service}", "--json").json["records"]
    assert [(r["name"], r["value"]) for r in shown] == [("cpu", 2.0)]


def test_equal_lines_are_lines_of_their_own(here: Cli, tmp_path: Path) -> None:
    system = uuid4().hex
    (tmp_path / "x.log").write_text(f"same {system}\nsame {system}\n")
    words = ("load", "logs", str(tmp_path / "x.log"), "--system", system, "--json")
    assert counts(here(*words)) == (2, 2, 0, 0)
    assert counts(here(*words)) == (2, 0, 2, 0)
    where = ("--where", f"system={system}", "--text", "SAME")
    assert here("query", "logs", *where, "--count", "--json").json == {"count": 2}


def test_many_files_load_in_one_go(here: Cli, tmp_path: Path) -> None:
    service = uuid4().hex
    for n in range(30):
        (tmp_path / f"m{n}.csv").write_text("timestamp,value\n2024-01-01,1\n")
    paths = map(str, sorted(tmp_path.glob("*.csv")))
    assert counts(here("load", "metrics", *paths, "--service", service, "--json"))[:2] == (30, 30)


def test_a_gzip_file_loads(here: Cli, samples: Path, chain: str, tmp_path: Path) -> None:
    path = tmp_path / "transactions.csv.gz"
    path.write_bytes(gzip.compress((samples / "transactions.csv").read_bytes()))
    answer = here("load", "transactions", str(path), "--chain-id", chain, "--json")
    assert (answer.code, answer.json["read"]) == (0, 3)


def test_good_rows_of_a_bad_file_are_stored(
    here: Cli, samples: Path, chain: str, tmp_path: Path
) -> None:
    head, first, *_ = (samples / "transactions.csv").read_text().splitlines()
    cells = first.split(",")
    rows = []
    for value in ("not-a-number", "-1", "9" * 79, "42"):
        cells[0], cells[7] = f"0x{uuid4().hex * 2}", value
        rows.append(",".join(cells))
    path = tmp_path / "bad.csv"
    path.write_text("\n".join([head, *rows, "0x12" + first[66:]]) + "\n")
    answer = here("load", "transactions", str(path), "--chain-id", chain, "--json")
    assert (answer.code, counts(answer)) == (1, (5, 1, 0, 0))
    told = [(r["file"], r["record"], r["field"]) for r in answer.json["rejected"]]
    fields = [(1, "value"), (2, "value"), (3, "value"), (5, "hash")]
    assert told == [(str(path), *place) for place in fields]
    assert all(r["reason"] for r in answer.json["rejected"])
    stored = here("query", "transactions", "--where", f"hash={cells[0]}", "--json").json["records"]
    assert [r["value"] for r in stored] == ["42"]


def test_an_unknown_chain_rejects_every_record_of_it(here: Cli, samples: Path) -> None:
    for data_type, name, read in (
        ("transactions", "transactions.csv", 3),
        ("wallets", "genesis.json", 4),
        ("contracts", "contracts.csv", 3),
    ):
        answer = here("load", data_type, str(samples / name), "--chain-id", "424242", "--json")
        assert (answer.code, counts(answer)) == (1, (read, 0, 0, 0))
        assert {r["field"] for r in answer.json["rejected"]} == {"chain_id"}
        assert [r["record"] for r in answer.json["rejected"]] == list(range(1, read + 1))


def test_files_that_cannot_be_loaded_leave_the_others(
    here: Cli, samples: Path, chain: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "column.csv").write_text("hash,worth\n1,2\n")
    (tmp_path / "latin.csv").write_bytes(b"hash,\xe9\n")
    names = ("empty.csv", "column.csv", "latin.csv", "nothing.csv", ".")
    bad = [str(tmp_path / name) for name in names]
    good = str(samples / "transactions.csv")
    answer = here("load", "transactions", *bad, good, "--chain-id", chain, "--json")
    assert (answer.code, counts(answer)[0]) == (1, 8)
    assert [(r["file"], r["record"]) for r in answer.json["rejected"]] == [(p, 0) for p in bad]


def test_a_truncated_line_is_told_and_the_lines_before_it_are_stored(
    here: Cli, samples: Path, tmp_path: Path
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes((samples / "events.jsonl").read_bytes()[:-20])
    answer = here("load", "events", str(path), "--json")
    assert (answer.code, answer.json["read"]) == (1, 3)
    assert [r["record"] for r in answer.json["rejected"]] == [3]


def test_wallets_can_be_given_to_a_user_by_name(here: Cli, chain: str, tmp_path: Path) -> None:
    name, address = f"u{uuid4().hex}", f"0x{uuid4().hex}{uuid4().hex[:8]}"
    user = {"id": str(uuid4()), "email": f"{name}@example.org", "username": name}
    (tmp_path / "u.jsonl").write_text(json.dumps(user))
    assert here("load", "accounts", str(tmp_path / "u.jsonl")).code == 0
    (tmp_path / "g.json").write_text(json.dumps({"alloc": {address: {"balance": "1"}}}))
    words = ("load", "wallets", str(tmp_path / "g.json"), "--chain-id", chain)
    assert here(*words, "--owner", name).code == 0
    shown = here("query", "wallets", "--where", f"address={address}", "--json").json["records"]
    assert [r["owner"] for r in shown] == [user["id"]]
    assert here(*words, "--owner", "nobody").code == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("transactions", "transactions.csv"), "--chain-id"),
        (("metrics", "points.csv"), "--service"),
        (("logs", "app.log"), "--system"),
        (("logs", "app.log", "--system", "x", "--encoding", "klingon"), "klingon"),
        (("transactions", "transactions.csv", "--format", "xml"), "ethereum-etl-csv"),
        (("contract_metadata", "abi.json", "--network", "x", "--address", "0x1"), "--address"),
        (("blocks", "transactions.csv"), "transactions"),
        (("cache", "app.log"), "cache"),
        (("transactions",), "FILE"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_loaded(
    here: Cli, samples: Path, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    given = [str(samples / word) if (samples / word).exists() else word for word in words]
    answer = here("load", *given, data=tmp_path / "fresh")
    assert (answer.code, answer.out) == (2, "")
    assert told in " ".join(answer.err.split())
    assert "Traceback" not in answer.err
    assert not (tmp_path / "fresh").exists()


def test_an_unavailable_store_ends_with_3(here: Cli, samples: Path) -> None:
    answer = here(
        "load",
        "transactions",
        str(samples / "transactions.csv"),
        "--chain-id",
        "1",
        NEO_PROFILE="server",
        POSTGRES_PORT="1",
        REDIS_PORT="1",
    )
    assert (answer.code, answer.out) == (3, "")
    assert "Traceback" not in answer.err


def test_the_table_names_some_rejections_and_counts_the_rest(here: Cli, tmp_path: Path) -> None:
    rows = "".join(f"{n},x\n" for n in range(50))
    (tmp_path / "p.csv").write_text("timestamp,value\n" + rows)
    answer = here("load", "metrics", str(tmp_path / "p.csv"), "--service", "x")
    assert answer.code == 1
    assert "50" in answer.out
    assert "and 30 more" in answer.out


def test_nothing_but_the_answer_is_printed_where_no_terminal_is(cli: Cli, samples: Path) -> None:
    answer = cli("load", "networks", str(samples / "chain.json"), "--json")
    assert (json.loads(answer.out)["read"], answer.err) == (1, "")
