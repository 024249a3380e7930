"""What each loader says of bad input: file, record, field and reason, and the rest still loads."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neo_polystore.errors import UsageError
from neo_polystore.loaders import source as source_module
from neo_polystore.loaders.base import BadRecord, Loaded, LoadOptions
from neo_polystore.loaders.formats import formats_of
from neo_polystore.loaders.jobs import plan
from neo_polystore.records.catalog import record_types
from tests.unit.loading import changed, items, reason, split

Change = Callable[..., Path]


@pytest.fixture
def load(data: Path) -> Path:
    """The folder of samples."""
    return data / "load"


@pytest.fixture
def csv(load: Path, tmp_path: Path) -> Change:
    """A transactions.csv with some text replaced."""
    return lambda *changes: changed(load / "transactions.csv", tmp_path / "t.csv", *changes)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"not-a-number", "whole number"),
        (b"1e18", "whole number"),
        (b"12.5", "whole number"),
        (b"", "whole number"),
        (b"-1", "non-negative"),
        (b"1" + b"0" * 78, "78 digits"),
        (b"9" * 5000, "78 digits"),
    ],
)
def test_a_bad_amount_is_told_and_the_other_rows_load(csv: Change, value: bytes, told: str) -> None:
    found = items("transactions", csv((b"1000000000000000000000007", value)))
    assert split(found) == ([2, 3], [(1, "value")])
    assert told in reason(found)


def test_the_largest_amount_is_none_too_large(csv: Change) -> None:
    found = items("transactions", csv((b"1000000000000000000000007", b"9" * 78)))
    assert split(found) == ([1, 2, 3], [])


@pytest.mark.parametrize("text", [b"0xabc", b"0x" + b"zz" * 32, b"", b"0x" + b"ab" * 33])
def test_a_hash_that_is_not_32_bytes_is_told(load: Path, tmp_path: Path, text: bytes) -> None:
    lines = (load / "transactions.csv").read_bytes().splitlines()
    lines[2] = text + lines[2][66:]
    (tmp_path / "t.csv").write_bytes(b"\n".join(lines))
    found = items("transactions", tmp_path / "t.csv")
    assert split(found) == ([1, 3], [(2, "hash")])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ((b",21000,", b",many,"), "gas"),
        ((b",1600000000,", b",yesterday,"), "block_timestamp"),
        ((b",1600000000,", b",99999999999999999999,"), "block_timestamp"),
        ((b",0x,", b',"0x,'), "record"),
        ((b",0x,", b",0x,surplus,"), "record"),
        ((b",0x,", b",\xff\xfe,"), "input"),
        ((b",0x,", b",0x\x00,"), "input"),
        ((b",1000,0,", b",-5,0,"), "block_number"),
    ],
)
def test_a_bad_cell_is_told_under_its_column(
    csv: Change, change: tuple[bytes, bytes], field: str
) -> None:
    assert split(items("transactions", csv(change))) == ([2, 3], [(1, field)])


def test_a_record_with_several_problems_is_rejected_once(csv: Change) -> None:
    found = items("transactions", csv((b"1000000000000000000000007,21000", b"x,y")))
    assert split(found) == ([2, 3], [(1, "value")])
    assert "also gas" in reason(found)


def test_a_missing_column_is_told_once_for_the_file(csv: Change) -> None:
    found = items("transactions", csv((b",value,", b",amount,")))
    assert split(found) == ([], [(0, "value")])
    assert "lacks column value" in reason(found)


def test_all_missing_columns_are_named(csv: Change) -> None:
    found = items("transactions", csv((b"hash,nonce", b"a,b")))
    assert "hash, nonce" in reason(found)


def test_a_repeated_column_is_refused(csv: Change) -> None:
    assert split(items("transactions", csv((b"block_hash", b"value"))))[1] == [(0, "value")]


def test_a_header_that_is_not_utf8_is_told(csv: Change) -> None:
    found = items("transactions", csv((b"block_hash", b"\xe9")))
    assert split(found) == ([], [(0, "header")])
    assert "UTF-8" in reason(found)


def test_a_file_of_another_encoding_is_told(tmp_path: Path, load: Path) -> None:
    text = (load / "transactions.csv").read_text()
    (tmp_path / "t.csv").write_bytes(text.encode("utf-16"))
    assert "UTF-8" in reason(items("transactions", tmp_path / "t.csv"))


def test_blank_lines_are_no_records_but_count(csv: Change) -> None:
    path = csv((b"\n0x", b"\n\n0x"))
    assert split(items("transactions", path))[0] == [2, 3, 4]


def test_a_quoted_cell_that_is_not_closed_takes_no_other_row_with_it(csv: Change) -> None:
    found = items("transactions", csv((b",0x6001,", b',"0x6001,')))
    assert split(found) == ([1, 3], [(2, "record")])
    assert "not closed" in reason(found)


def test_a_truncated_last_json_line_is_told(load: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes((load / "transactions.json").read_bytes()[:-100])
    found = items("transactions", path)
    assert split(found) == ([1, 2], [(3, "record")])
    assert "cut off" in reason(found)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "not JSON"),
        (b"[1]", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\x00"}', "control character"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": ' + b"1" * 5000 + b"}", "limit"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 600 + b"1" + b"}" * 600, "nested"),
        (b'{"a": 1} {"b": 2}', "more text"),
    ],
)
def test_a_line_that_is_not_json_is_told_and_the_next_ones_load(
    load: Path, tmp_path: Path, line: bytes, told: str
) -> None:
    lines = (load / "transactions.json").read_bytes().splitlines()
    lines.insert(1, line)
    (tmp_path / "t.json").write_bytes(b"\n".join(lines))
    found = items("transactions", tmp_path / "t.json")
    assert split(found) == ([1, 3, 4], [(2, "record")])
    assert told in reason(found)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ((b'"value": ', b'"worth": '), "value"),
        ((b'"value": 1000000000000000000000007', b'"value": 1.5'), "value"),
        ((b'"value": 1000000000000000000000007', b'"value": null'), "value"),
        ((b'"receipt_status": 1', b'"receipt_status": 7'), "receipt_status"),
        ((b'"type": "transaction"', b'"type": "block"'), "type"),
        ((b'"block_timestamp": 1600000000', b'"block_timestamp": [1]'), "block_timestamp"),
    ],
)
def test_a_bad_value_in_json_is_told_under_its_name(
    load: Path, tmp_path: Path, change: tuple[bytes, bytes], field: str
) -> None:
    path = changed(load / "transactions.json", tmp_path / "t.json", change)
    assert split(items("transactions", path)) == ([2, 3], [(1, field)])


def test_a_line_beyond_all_measure_is_told_and_the_next_ones_load(
    load: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "MAX_LINE", 2000)
    lines = (load / "transactions.csv").read_bytes().splitlines()
    lines.insert(2, b"x" * 1_000_000)
    (tmp_path / "t.csv").write_bytes(b"\n".join(lines))
    assert split(items("transactions", tmp_path / "t.csv")) == ([1, 3, 4], [(2, "record")])


@pytest.mark.parametrize("data_type", sorted({*record_types(), "receipts"}))
def test_an_empty_file_is_told(tmp_path: Path, data_type: str) -> None:
    (tmp_path / "x").write_bytes(b"")
    found = items(data_type, tmp_path / "x")
    assert split(found) == ([], [(0, "file")])
    assert "empty" in reason(found)


def test_a_header_without_rows_is_fine(csv: Change, load: Path, tmp_path: Path) -> None:
    header = (load / "transactions.csv").read_bytes().splitlines()[0]
    (tmp_path / "h.csv").write_bytes(header)
    assert items("transactions", tmp_path / "h.csv") == []


def test_a_directory_is_told(tmp_path: Path) -> None:
    assert "directory" in reason(items("logs", tmp_path))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert "does not exist" in reason(items("logs", tmp_path / "nothing"))


def test_a_file_within_a_file_is_told(load: Path) -> None:
    assert "file" in split(items("logs", load / "app.log" / "x"))[1][0][1]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Look at files as nobody would, where the tests run as root, who may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    (tmp_path / "x").chmod(0)
    with unprivileged():
        found = items("logs", tmp_path / "x")
    assert "no permission" in reason(found)


def test_a_directory_without_permission_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with unprivileged():
        found = [items("logs", path) for path in (closed, closed / "x")]
    closed.chmod(0o700)
    assert all("permission" in reason(problems) for problems in found)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "regular" in reason(items("logs", tmp_path / "pipe"))


def test_damaged_gzip_is_told_where_it_is_damaged(tmp_path: Path) -> None:
    rows = b"".join(b"%d,1\n" % (1_700_000_000 + n * 7919 % 1_000_003) for n in range(100_000))
    packed = gzip.compress(b"timestamp,value\n" + rows)
    (tmp_path / "p.csv.gz").write_bytes(packed[:-2000])
    good, bad = split(items("metrics", tmp_path / "p.csv.gz"))
    assert len(good) > 1000
    assert bad == [(good[-1] + 1, "file")]


@pytest.mark.parametrize(
    ("data_type", "name", "cut", "good"),
    [("audit_logs", "cloudtrail.json", -200, 4), ("wallets", "genesis.json", -90, 3)],
)
def test_what_precedes_the_cut_of_a_container_loads(
    load: Path, tmp_path: Path, data_type: str, name: str, cut: int, good: int
) -> None:
    (tmp_path / name).write_bytes((load / name).read_bytes()[:cut])
    found = items(data_type, tmp_path / name)
    assert split(found) == (list(range(1, good + 1)), [(good + 1, "record")])


def test_a_container_that_is_not_closed_is_told(load: Path, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes((load / "cloudtrail.json").read_bytes()[:-1])
    found = items("audit_logs", tmp_path / "c.json")
    assert split(found) == ([1, 2, 3, 4, 5], [(6, "record")])


def test_one_event_that_is_not_utf8_leaves_the_others(load: Path, tmp_path: Path) -> None:
    path = changed(load / "cloudtrail.json", tmp_path / "c.json", (b"CreateBucket", b"Create\xff"))
    found = items("audit_logs", path)
    assert split(found) == ([1, 3, 4, 5], [(2, "record")])
    assert "0xff" in reason(found)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ((b'"eventID": ', b'"ID": '), "eventID"),
        ((b"2024-05-01T10:00:00Z", b"soon"), "eventTime"),
        ((b'"eventName": "GetBucketAcl"', b'"eventName": ""'), "eventName"),
        ((b'"sourceIPAddress": "192.0.2.7"', b'"sourceIPAddress": 5'), "sourceIPAddress"),
    ],
)
def test_a_bad_audit_event_is_told(
    load: Path, tmp_path: Path, change: tuple[bytes, bytes], field: str
) -> None:
    path = changed(load / "cloudtrail.json", tmp_path / "c.json", change)
    assert split(items("audit_logs", path)) == ([2, 3, 4, 5], [(1, field)])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ((b'"0x3635c9adc5dea00000"', b'"0xnope"'), "balance"),
        ((b'"0x3635c9adc5dea00000"', b'"0x' + b"f" * 70 + b'"'), "balance"),
        ((b'"0x3635c9adc5dea00000"', b'"-5"'), "balance"),
        ((b'"0x3635c9adc5dea00000"', b"1e3"), "balance"),
        ((b'"balance": "0x3635c9adc5dea00000"', b'"nonce": 1'), "balance"),
        ((b'"alloc": {\n  "', b'"alloc": {\n  "ff'), "address"),
    ],
)
def test_a_bad_genesis_account_is_told(
    load: Path, tmp_path: Path, change: tuple[bytes, bytes], field: str
) -> None:
    path = changed(load / "genesis.json", tmp_path / "g.json", change)
    assert split(items("wallets", path)) == ([2, 3, 4], [(1, field)])


def test_a_genesis_file_without_chain_asks_for_it(load: Path, tmp_path: Path) -> None:
    path = changed(load / "genesis.json", tmp_path / "g.json", (b"chainId", b"chain"))
    assert "--chain-id" in reason(items("wallets", path, chain_id=None))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ((b'"chainId": 990001', b'"chainId": "one"'), "chainId"),
        ((b'"chainId"', b'"chain_"'), "chainId"),
        ((b'"name": "Sample Chain"', b'"name": ""'), "name"),
        ((b'"rpc"', b'"rcp"'), "rpc"),
    ],
)
def test_a_bad_chain_is_told(
    load: Path, tmp_path: Path, change: tuple[bytes, bytes], field: str
) -> None:
    path = changed(load / "chain.json", tmp_path / "c.json", change)
    assert split(items("networks", path)) == ([], [(1, field)])


def test_a_chain_without_http_endpoint_is_told(load: Path, tmp_path: Path) -> None:
    path = changed(
        load / "chain.json",
        tmp_path / "c.json",
        (b"https://rpc.sample", b"ipc://rpc.sample"),
        (b"https://rpc2.sample", b"ipc://rpc2.sample"),
    )
    assert "http" in reason(items("networks", path))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ((b"00:00:00,1.5", b"00:00:00,fast"), "value"),
        ((b"00:00:00,1.5", b"00:00:00,"), "value"),
        ((b"2024-03-31 00:00:00", b"2024-02-31 00:00:00"), "timestamp"),
        ((b",1.5", b""), "record"),
    ],
)
def test_a_bad_point_is_told(
    load: Path, tmp_path: Path, change: tuple[bytes, bytes], field: str
) -> None:
    path = changed(load / "points.csv", tmp_path / "p.csv", change)
    assert split(items("metrics", path)) == ([2, 3, 4], [(1, field)])


def test_a_file_of_points_with_more_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("timestamp,value,host\n2024-01-01,1,a\n2024-01-01,2,b\n")
    assert split(items("metrics", tmp_path / "p.csv")) == ([], [(0, "host")])


def test_a_line_that_is_not_utf8_is_told_and_the_others_load(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes(b"one\nzw\xf6lf\nnul\x00\nfour")
    found = items("logs", tmp_path / "x.log")
    assert split(found) == ([1, 4], [(2, "line"), (3, "line")])
    assert isinstance(found[1], BadRecord)
    assert "--encoding" in found[1].reason


def test_a_utf16_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_bytes("one\ntwo\n".encode("utf-16")[:-1])
    found = items("logs", tmp_path / "x.log", encoding="utf-16")
    assert split(found)[1] == [(2, "line")]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("[1]", "record.0"),
        ('{"compiler": {}, "output": {}}', "output.abi"),
        ('{"contractName": "x", "abi": {}}', "abi"),
        ('[{"type": "function"', "record"),
    ],
)
def test_a_bad_abi_is_told(tmp_path: Path, content: str, field: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert split(items("contract_metadata", tmp_path / "a.json")) == ([], [(1, field)])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ((b'"specversion": "1.0"', b'"specversion": "0.3"'), "specversion"),
        ((b'"source": "/orders"', b'"source": ""'), "source"),
        ((b'"type": "order.placed"', b'"type": 7'), "type"),
        ((b"2024-05-01T10:00:00Z", b"noon"), "time"),
        ((b'"subject": "', b'"subject": 5, "x": "'), "subject"),
    ],
)
def test_a_bad_cloudevent_is_told(
    load: Path, tmp_path: Path, change: tuple[bytes, bytes], field: str
) -> None:
    path = changed(load / "events.jsonl", tmp_path / "e.jsonl", change)
    assert split(items("events", path)) == ([2, 3], [(1, field)])


def test_our_own_records_are_held_to_their_model(tmp_path: Path) -> None:
    lines = (
        '{"bucket": "abc", "name": "ok", "content": "eA=="}',
        '{"bucket": "A!", "name": "x"}',
        '{"bucket": "abc", "name": "../x"}',
        '{"bucket": "abc", "name": "x", "colour": 1}',
        '{"bucket": "abc", "name": "x", "content": "?"}',
    )
    (tmp_path / "o.jsonl").write_text("\n".join(lines))
    good, bad = split(items("objects", tmp_path / "o.jsonl"))
    assert good == [1]
    assert bad == [(2, "bucket"), (3, "name"), (4, "colour"), (5, "content")]


def test_a_file_of_no_known_format_names_the_formats(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("What is this?")
    found = items("audit_logs", tmp_path / "x")
    assert split(found) == ([], [(0, "format")])
    assert "cloudtrail" in reason(found)
    assert "records" in reason(found)


def test_a_named_format_goes_before_what_the_content_looks_like(load: Path) -> None:
    found = items("logs", load / "events.jsonl", format_name="lines")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("data_type", "name", "options", "told"),
    [
        ("transactions", "transactions.csv", {}, "--chain-id"),
        ("receipts", "receipts.csv", {}, "--chain-id"),
        ("contracts", "contracts.csv", {}, "--chain-id"),
        ("metrics", "points.csv", {}, "--service"),
        ("logs", "app.log", {}, "--system"),
        ("logs", "app.log", {"system": "x", "encoding": "klingon"}, "klingon"),
        ("logs", "app.log", {"system": "x", "encoding": "rot13"}, "rot13"),
        ("contract_metadata", "abi.json", {"address": "0x"}, "--network"),
        ("nonsense", "app.log", {}, "transactions"),
        ("cache", "app.log", {}, "no data type 'cache'"),
    ],
)
def test_a_missing_or_wrong_option_is_wrong_usage(
    load: Path, data_type: str, name: str, options: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        plan(data_type, [load / name], LoadOptions(**options))  # type: ignore[arg-type]


def test_an_unknown_format_is_wrong_usage(load: Path) -> None:
    with pytest.raises(UsageError, match="ethereum-etl-csv"):
        plan("transactions", [load / "app.log"], LoadOptions(), format_name="xml")


def test_one_address_cannot_stand_for_two_files(load: Path) -> None:
    options = LoadOptions(network="main", address="0x" + "1" * 40)
    with pytest.raises(UsageError, match="one file"):
        plan("contract_metadata", [load / "abi.json", load / "artifact.json"], options)


FORMATS = [
    (data_type, found.name)
    for data_type in sorted({*record_types(), "receipts"})
    for found in formats_of(data_type)
]

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize(("data_type", "format_name"), FORMATS)
@given(content=st.binary(max_size=300) | json_like)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_file_makes_a_loader_raise(
    tmp_path: Path, data_type: str, format_name: str, content: bytes
) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    for name in (format_name, None):
        for item in items(data_type, path, format_name=name):
            assert isinstance(item, Loaded | BadRecord)
            if isinstance(item, BadRecord):
                assert item.reason
                f"{item.field} {item.reason}".encode()


SAMPLES = [
    ("transactions", "transactions.csv"),
    ("transactions", "transactions.json"),
    ("wallets", "genesis.json"),
    ("audit_logs", "cloudtrail.json"),
    ("contract_metadata", "metadata.json"),
    ("events", "events.jsonl"),
    ("metrics", "points.csv"),
    ("networks", "chain.json"),
    ("logs", "app.log"),
]


@pytest.mark.parametrize(("data_type", "name"), SAMPLES)
@given(
    place=st.floats(0, 1, exclude_max=True), damage=st.binary(max_size=4), length=st.integers(0, 40)
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_file_gives_only_good_records_and_problems(
    tmp_path: Path, load: Path, data_type: str, name: str, place: float, damage: bytes, length: int
) -> None:
    content = (load / name).read_bytes()
    at = int(place * len(content))
    path = tmp_path / name
    path.write_bytes(content[:at] + damage + content[at + length :])
    numbers = [item.number for item in items(data_type, path)]
    assert numbers == sorted(set(numbers))
