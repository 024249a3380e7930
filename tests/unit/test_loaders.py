"""What each loader makes of a good file."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from neo_polystore.ids import derived_uuid
from neo_polystore.loaders.base import Loaded
from neo_polystore.loaders.cloudtrail import action_of, resource_of, snake_case, user_of
from neo_polystore.loaders.contract_files import address_of
from neo_polystore.loaders.document_values import storable
from neo_polystore.loaders.log_shapes import read_line
from tests.unit.loading import NOW, items, records, split


@pytest.fixture
def load(data: Path) -> Path:
    """The folder of samples."""
    return data / "load"


def test_transactions_keep_every_digit(load: Path) -> None:
    first, _, third = records("transactions", load / "transactions.csv")
    assert (first.value, third.value) == (10**24 + 7, 2**64)


def test_a_transaction_without_recipient_creates_a_contract(load: Path) -> None:
    _, creation, _ = records("transactions", load / "transactions.csv")
    assert creation.to_address is None


def test_mined_transactions_are_confirmed(load: Path) -> None:
    assert {r.status for r in records("transactions", load / "transactions.csv")} == {"confirmed"}


def test_transactions_have_the_time_of_their_block(load: Path) -> None:
    [first, *_] = records("transactions", load / "transactions.csv")
    assert first.block_timestamp == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)


def test_json_lines_give_the_transactions_of_the_csv_with_their_receipts(load: Path) -> None:
    plain = records("transactions", load / "transactions.csv")
    full = records("transactions", load / "transactions.json")
    assert [r.status for r in full] == ["confirmed", "confirmed", "failed"]
    assert [r.gas_used for r in full] == [20900, 899900, 49900]
    same = [r.model_copy(update={"status": "confirmed", "gas_used": None}) for r in full]
    assert same == plain


def test_a_transaction_without_block_is_pending(load: Path, tmp_path: Path) -> None:
    line = json.loads((load / "transactions.json").read_text().splitlines()[0])
    line |= {"block_number": None, "block_timestamp": None, "receipt_status": None}
    (tmp_path / "t.json").write_text(json.dumps(line))
    [record] = records("transactions", tmp_path / "t.json")
    assert (record.status, record.block_timestamp) == ("pending", None)


def test_receipts_tell_success_failure_and_neither(load: Path) -> None:
    found = records("receipts", load / "receipts.csv")
    assert [(r.gas_used, r.status) for r in found] == [(21000, 1), (800000, None), (50000, 0)]


def test_contracts_have_the_type_that_was_recognised(load: Path) -> None:
    found = records("contracts", load / "contracts.csv")
    assert [r.contract_type for r in found] == ["erc20", "erc721", "other"]


def test_a_chain_has_its_first_http_and_wss_endpoints(load: Path) -> None:
    [chain] = records("networks", load / "chain.json")
    assert chain.rpc_endpoint == "https://rpc.sample.example/${API_KEY}"
    assert chain.ws_endpoint == "wss://ws.sample.example"
    assert chain.explorer_url == "https://scan.sample.example"


def test_an_array_of_chains_loads_too(load: Path, tmp_path: Path) -> None:
    chain = json.loads((load / "chain.json").read_text())
    (tmp_path / "chains.json").write_text(json.dumps([chain, {**chain, "chainId": 990002}]))
    assert [r.chain_id for r in records("networks", tmp_path / "chains.json")] == [990001, 990002]


@pytest.mark.parametrize(
    ("change", "testnet", "active"),
    [
        ({}, False, True),
        ({"slip44": 1}, True, True),
        ({"name": "Sample Sepolia"}, True, True),
        ({"title": "Sample Testnet"}, True, True),
        ({"status": "deprecated"}, False, False),
        ({"status": "incubating"}, False, True),
    ],
)
def test_coin_type_names_and_status_tell_testnets_and_dead_chains(
    load: Path, tmp_path: Path, change: dict[str, object], testnet: bool, active: bool
) -> None:
    chain = json.loads((load / "chain.json").read_text()) | change
    (tmp_path / "chain.json").write_text(json.dumps(chain))
    [record] = records("networks", tmp_path / "chain.json")
    assert (record.is_testnet, record.is_active) == (testnet, active)


def test_genesis_balances_are_read_in_every_notation(load: Path) -> None:
    found = records("wallets", load / "genesis.json", chain_id=None)
    assert [r.initial_balance for r in found] == [10**21, 5, 0, 1]
    assert [r.chain_id for r in found] == [990001] * 4
    assert [r.wallet_type for r in found] == ["external"] * 3 + ["contract"]
    assert all(r.address.startswith("0x") and r.address == r.address.lower() for r in found)


def test_the_given_chain_goes_before_that_of_the_genesis_file(load: Path) -> None:
    assert {r.chain_id for r in records("wallets", load / "genesis.json", chain_id=5)} == {5}


def test_wallets_belong_to_the_given_owner(load: Path) -> None:
    owner = UUID(int=7)
    assert {r.owner for r in records("wallets", load / "genesis.json", owner=owner)} == {owner}


def test_a_genesis_file_larger_than_the_window_is_read_piece_by_piece(tmp_path: Path) -> None:
    accounts = {f"{n:040x}": {"balance": str(n), "code": "0x" + "60" * 60} for n in range(4000)}
    genesis = {"alloc": accounts, "config": {"chainId": 12}}  # the chain comes last
    (tmp_path / "genesis.json").write_text(json.dumps(genesis))
    found = records("wallets", tmp_path / "genesis.json", chain_id=None)
    assert [r.initial_balance for r in found] == list(range(4000))
    assert {r.chain_id for r in found} == {12}


def test_points_without_zone_are_utc(load: Path) -> None:
    found = records("metrics", load / "points.csv", name="cpu")
    assert [r.time.strftime("%d %H:%M:%S") for r in found] == [
        "31 00:00:00",
        "31 00:05:00",
        "31 00:10:00",
        "31 00:10:00",
    ]
    assert [r.value for r in found] == [1.5, 2.0, 1000.0, -0.25]


def test_points_are_named_after_the_file_where_no_name_is_given(load: Path) -> None:
    assert {r.name for r in records("metrics", load / "points.csv")} == {"points"}


def test_every_line_of_a_log_is_an_entry_of_its_own(load: Path) -> None:
    path = load / "app.log"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = records("logs", path)
    assert [r.id for r in found] == [f"{digest}:{n}" for n in range(1, 7)]
    assert found[1].message == found[2].message
    assert found[3].message == ""
    assert found[5].message == "no newline at the end"


def test_line_ends_are_no_part_of_the_message(load: Path) -> None:
    [first, *_] = records("logs", load / "app.log")
    assert first.message.endswith("- up")


def test_a_line_without_a_full_time_gets_that_of_the_load(load: Path) -> None:
    found = records("logs", load / "app.log")
    assert [r.timestamp == NOW for r in found] == [False, False, False, True, True, True]
    assert [r.level for r in found] == ["INFO", "ERROR", "ERROR", None, None, None]
    assert found[4].host == "host7"


@pytest.mark.parametrize(
    ("line", "time", "level"),
    [
        ("[Sun Dec 04 04:47:44 2005] [notice] up", "2005-12-04T04:47:44", "notice"),
        ("[Sun Dec 04 04:47:44.123456 2005] [core:error] x", "2005-12-04T04:47:44.123456", "error"),
        ("081109 203615 148 INFO dfs.DataNode: x", "2008-11-09T20:36:15", "INFO"),
        ("17/06/09 20:10:40 INFO executor: x", "2017-06-09T20:10:40", "INFO"),
        ("2015-07-29 17:41:44,747 - WARN  [x]", "2015-07-29T17:41:44.747000", "WARN"),
        ("2015-07-29T17:41:44.5+02:00 ERROR x", "2015-07-29T15:41:44.500000", "ERROR"),
        ("<34>1 2003-10-11T22:14:15.003Z host su", "2003-10-11T22:14:15.003000", None),
        ("134681 node-246 unix.hw state 1077804742 1 x", "2004-02-26T14:12:22", None),
        ('1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET /"', "2000-10-10T20:55:36", None),
        ("Jun 14 15:16:01 combo sshd: x", None, None),
        ("[10.30 16:49:06] chrome.exe - x", None, None),
        ("2015-13-45 99:99:99 no time", None, None),
        ("999999 999999 1 INFO digits that are no date", None, None),
        ("", None, None),
    ],
)
def test_well_known_lines_tell_time_and_level(
    line: str, time: str | None, level: str | None
) -> None:
    stated = read_line(line)
    expected = datetime.fromisoformat(time).replace(tzinfo=UTC) if time else None
    assert (stated.timestamp, stated.level) == (expected, level)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_logs_of_another_encoding_load_with_it(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.log").write_bytes("Grüße\r\nzwei\n".encode(encoding))
    found = records("logs", tmp_path / "x.log", encoding=encoding)
    assert [r.message for r in found] == ["Grüße", "zwei"]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, load: Path) -> None:
    for name in ("points.csv", "transactions.json", "chain.json", "cloudtrail.json"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + (load / name).read_bytes())
    assert len(records("metrics", tmp_path / "points.csv")) == 4
    assert len(records("transactions", tmp_path / "transactions.json")) == 3
    assert len(records("networks", tmp_path / "chain.json")) == 1
    assert len(records("audit_logs", tmp_path / "cloudtrail.json")) == 5


def test_a_gzip_file_loads_like_what_is_in_it(tmp_path: Path, load: Path) -> None:
    for name, data_type in (("app.log", "logs"), ("cloudtrail.json", "audit_logs")):
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress((load / name).read_bytes()))
        assert records(data_type, packed) == records(data_type, load / name)


def test_cloudtrail_events_become_audit_entries(load: Path) -> None:
    found = [r.body() for r in records("audit_logs", load / "cloudtrail.json")]
    assert [r["action"] for r in found] == ["READ", "CREATE", "DELETE", "UPDATE", "EXECUTE"]
    assert [r["success"] for r in found] == [True, True, False, True, True]
    assert found[2]["error_message"] == "Access Denied"
    assert found[1]["changes"] == {
        "requestParameters": {"bucketName": "photos"},
        "responseElements": {"ok": True},
    }
    assert "changes" not in found[3]
    assert [r.get("resource_id") for r in found] == [
        "photos",
        "photos",
        "photos/a/b.jpg",
        "arn:aws:s3:::photos/x",
        None,
    ]


def test_nothing_of_a_cloudtrail_event_is_dropped(load: Path) -> None:
    events = json.loads((load / "cloudtrail.json").read_text())["Records"]
    for event, record in zip(events, records("audit_logs", load / "cloudtrail.json"), strict=True):
        kept = json.dumps(record.body(), default=str)
        for name, value in event.items():
            if name != "eventTime" and value is not None:
                assert json.dumps(value) in kept, name


@pytest.mark.parametrize(
    ("identity", "user"),
    [
        ({"arn": "arn:x", "principalId": "P"}, "arn:x"),
        ({"arn": "", "principalId": "P"}, "P"),
        ({"type": "AWSService", "invokedBy": "rds.amazonaws.com"}, "rds.amazonaws.com"),
        ({"accountId": "1"}, "1"),
        ({}, "system"),
        (None, "system"),
    ],
)
def test_an_audit_entry_always_names_somebody(identity: object, user: str) -> None:
    assert user_of(identity) == user


@pytest.mark.parametrize(
    ("name", "read_only", "action"),
    [
        ("Decrypt", True, "READ"),
        ("CreateBucket", True, "READ"),
        ("GetFederationToken", False, "EXECUTE"),
        ("GetFederationToken", None, "READ"),
        ("BatchGetItem", None, "READ"),
        ("CreateFunction20150331", False, "CREATE"),
        ("TerminateInstances", False, "DELETE"),
        ("PutObject", None, "UPDATE"),
        ("LeaveOrganization", False, "EXECUTE"),
        ("", None, "EXECUTE"),
    ],
)
def test_actions_follow_the_documented_rule(name: str, read_only: bool | None, action: str) -> None:
    assert action_of({"eventName": name, "readOnly": read_only}) == action


def test_the_resource_is_what_the_parameters_identify() -> None:
    def of(**parameters: object) -> str | None:
        return resource_of({"requestParameters": parameters})

    assert of(roleSessionName="s", roleArn="arn:r") == "arn:r"
    assert of(maxResults=5, dBInstanceIdentifier="db") == "db"
    assert of(userName="eve", groupId="g") == "g"
    assert of(filterSet={}) is None
    assert resource_of({"requestParameters": "text"}) is None


def test_names_become_snake_case() -> None:
    names = ("sharedEventID", "tlsDetails", "vpcEndpointId", "sourceIPAddress", "v2Api")
    assert [snake_case(name) for name in names] == [
        "shared_event_id",
        "tls_details",
        "vpc_endpoint_id",
        "source_ip_address",
        "v_2_api",
    ]


def test_a_bare_abi_is_named_after_its_file(load: Path) -> None:
    [found] = records("contract_metadata", load / "abi.json")
    assert (found.name, found.network, len(found.abi)) == ("abi", "any", 2)
    assert found.key == f"any:{found.address}"


def test_the_stand_in_for_an_address_is_the_digest_of_the_canonical_abi(load: Path) -> None:
    content = json.loads((load / "abi.json").read_text())
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    expected = "abi:" + hashlib.sha256(canonical.encode()).hexdigest()[:16]
    [found] = records("contract_metadata", load / "abi.json")
    assert found.address == expected
    assert address_of([dict(reversed(entry.items())) for entry in content]) == expected


def test_solidity_metadata_keeps_compiler_settings_and_source(load: Path) -> None:
    [found] = records("contract_metadata", load / "metadata.json")
    body = found.body()
    assert (body["name"], body["source_code"]) == ("Sum", "contract Sum {}")
    assert body["compiler_version"] == "0.8.24+commit.e11b9ed9"
    assert body["settings"]["optimizer"] == {"enabled": True, "runs": 200}
    assert body["documentation"]["devdoc"]["kind"] == "dev"


def test_names_that_no_field_can_have_become_values(load: Path) -> None:
    [found] = records("contract_metadata", load / "metadata.json")
    [source] = found.body()["sources"]
    assert (source["name"], source["value"]["license"]) == ("src/Sum.sol", "MIT")
    assert storable({"a": {"$b": 1, "c": [2**63, {"d.e": None}]}}) == {
        "a": [
            {"name": "$b", "value": 1},
            {"name": "c", "value": [str(2**63), [{"name": "d.e", "value": None}]]},
        ]
    }


def test_a_hardhat_artifact_keeps_its_byte_code(load: Path) -> None:
    [found] = records("contract_metadata", load / "artifact.json")
    body = found.body()
    assert (body["name"], body["bytecode"], body["deployed_bytecode"]) == (
        "Token",
        "0x6001",
        "0x60",
    )


def test_a_given_address_and_network_make_the_key(load: Path) -> None:
    address = "0x" + "ab" * 20
    [found] = records("contract_metadata", load / "abi.json", network="main", address=address)
    assert found.key == f"main:{address}"


def test_cloudevents_become_events_of_their_subject(load: Path) -> None:
    first, second, third = records("events", load / "events.jsonl")
    assert first.event_id == UUID("0190a000-0000-7000-8000-000000000001")
    assert first.aggregate_id == UUID("0190a000-0000-7000-8000-00000000000a")
    assert first.correlation_id == UUID("0190a000-0000-7000-8000-00000000000c")
    assert (first.event_type, first.event_data) == ("order.placed", {"total": "12.50"})
    assert first.metadata["traceparent"] == "00-ab-cd-01"
    assert second.event_id == derived_uuid("cloudevent", "/orders", "2")
    assert second.aggregate_id == derived_uuid("/orders", "order 7")
    assert (second.event_data, second.created_at.hour) == ({"data": [1, 2]}, 8)
    assert (third.event_data, third.created_at) == ({"data_base64": "aGVsbG8="}, NOW)


def test_a_batch_of_cloudevents_loads_like_lines(load: Path, tmp_path: Path) -> None:
    lines = (load / "events.jsonl").read_text().splitlines()
    (tmp_path / "batch.json").write_text("[" + ",\n".join(lines) + "]")
    assert records("events", tmp_path / "batch.json") == records("events", load / "events.jsonl")


def test_our_own_records_load_as_lines_array_and_answer(load: Path, tmp_path: Path) -> None:
    for data_type, name in (
        ("transactions", "transactions.csv"),
        ("networks", "chain.json"),
        ("wallets", "genesis.json"),
        ("contracts", "contracts.csv"),
        ("metrics", "points.csv"),
        ("logs", "app.log"),
        ("events", "events.jsonl"),
        ("audit_logs", "cloudtrail.json"),
        ("contract_metadata", "metadata.json"),
        ("receipts", "receipts.csv"),
    ):
        wanted = records(data_type, load / name)
        texts = [r.model_dump_json(by_alias=True) for r in wanted]
        for content in (
            "\n".join(texts),
            "[" + ",".join(texts) + "]",
            '{\n "records": [' + ",".join(texts) + '], "next": null}',
        ):
            (tmp_path / "x.json").write_text(content)
            assert records(data_type, tmp_path / "x.json", chain_id=None) == wanted


def test_bytes_of_our_own_records_are_base64(tmp_path: Path) -> None:
    (tmp_path / "o.jsonl").write_text('{"bucket": "abc", "name": "x", "content": "+/8="}\n')
    [found] = records("objects", tmp_path / "o.jsonl")
    assert found.content == b"\xfb\xff"


def test_numbers_of_json_lose_no_digit(tmp_path: Path) -> None:
    line = {"chain_id": 1, "address": "0x" + "1" * 40, "initial_balance": 2**255 + 1}
    (tmp_path / "w.jsonl").write_text(json.dumps(line))
    [found] = records("wallets", tmp_path / "w.jsonl")
    assert found.initial_balance == 2**255 + 1


def test_records_are_numbered_by_row_line_or_place(load: Path, tmp_path: Path) -> None:
    assert split(items("transactions", load / "transactions.csv"))[0] == [1, 2, 3]
    text = (load / "transactions.json").read_text()
    (tmp_path / "t.json").write_text("\n" + text.replace("\n", "\n\n"))
    assert split(items("transactions", tmp_path / "t.json"))[0] == [2, 4, 6]


def test_line_protocol_is_recognised_and_bad_lines_are_numbered(load: Path) -> None:
    found = items("metrics", load / "points.lp", service="fallback")
    assert split(found) == ([2, 2, 4], [(3, "record")])
    points: list[Any] = [item.record for item in found if isinstance(item, Loaded)]
    assert [(p.service, p.name, p.tags, p.value) for p in points] == [
        ("web", "cpu_usage_idle", {"host": "a"}, 99.5),
        ("web", "cpu_cores", {"host": "a"}, 8.0),
        ("fallback", "cpu_usage_idle", {"host": "b"}, 98.5),
    ]
    assert points[0].time == datetime(2024, 3, 31, tzinfo=UTC)
