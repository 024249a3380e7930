"""A small sample of every record data type: what `demo` writes and the API's examples show."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from neo_polystore.ids import derived_uuid
from neo_polystore.records.accounts import User
from neo_polystore.records.analytics import Fact
from neo_polystore.records.base import Record
from neo_polystore.records.catalog import record_type
from neo_polystore.records.contracts import Contract
from neo_polystore.records.events import Event
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.records.networks import Network
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.sealed import SealedBlob
from neo_polystore.records.transactions import Transaction
from neo_polystore.records.wallets import Wallet

CHAIN = 20_251_120
"""A chain id of the sample's own, so that it never meets a real network."""

_START = datetime(2026, 1, 5, 12, tzinfo=UTC)


def _hash(*parts: object) -> str:
    return hashlib.sha256(":".join(map(str, ("neo-polystore sample", *parts))).encode()).hexdigest()


def _address(number: int) -> str:
    return "0x" + _hash("address", number)[:40]


def _time(number: int) -> datetime:
    return _START + timedelta(minutes=number)


def _networks() -> list[Record]:
    return [
        Network(
            chain_id=CHAIN,
            name="Neo Polystore sample chain",
            rpc_endpoint="https://rpc.example.org",
            ws_endpoint="wss://ws.example.org",
            is_testnet=True,
        )
    ]


def _accounts() -> list[Record]:
    return [
        User(id=derived_uuid("sample user", name), username=name, email=f"{name}@example.org")
        for name in ("sample-alice", "sample-bob")
    ]


def _wallets() -> list[Record]:
    return [
        Wallet(chain_id=CHAIN, address=_address(n), initial_balance=10**18 * n) for n in range(3)
    ]


def _transactions() -> list[Record]:
    return [
        Transaction(
            chain_id=CHAIN,
            hash="0x" + _hash("transaction", n),
            from_address=_address(n),
            to_address=_address(n + 1),
            value=10**21 + n,
            gas_price=50 * 10**9,
            gas_limit=21_000,
            gas_used=21_000,
            nonce=n,
            input_data="0x",
            status="confirmed",
            block_number=1_000 + n,
            block_timestamp=_time(n),
        )
        for n in range(5)
    ]


def _contracts() -> list[Record]:
    return [
        Contract(
            chain_id=CHAIN,
            address=_address(100),
            name="SampleToken",
            symbol="SMPL",
            contract_type="ERC20",
            abi=[_TOTAL_SUPPLY],
            verified=True,
            deployed_at=_time(0),
        )
    ]


_TOTAL_SUPPLY: dict[str, Any] = {
    "type": "function",
    "name": "totalSupply",
    "stateMutability": "view",
    "inputs": [],
    "outputs": [{"name": "", "type": "uint256"}],
}


def _events() -> list[Record]:
    order = derived_uuid("sample order")
    return [
        Event(
            event_id=derived_uuid("sample event", str(n)),
            aggregate_id=order,
            aggregate_type="order",
            event_type=kind,
            event_data={"step": n},
            created_at=_time(n),
        )
        for n, kind in enumerate(("OrderPlaced", "OrderPaid", "OrderShipped"))
    ]


def _metrics() -> list[Record]:
    return [
        MetricPoint(
            time=_time(n),
            service="sample",
            name="cpu_utilization",
            value=20.0 + n / 4,
            tags={"host": "node-1"},
            unit="percent",
        )
        for n in range(10)
    ]


def _logs() -> list[Record]:
    lines = ("started in 41 ms", "retrying connection to peer", "error: peer refused the handshake")
    return [
        LogEntry(
            id=f"sample:{n}",
            timestamp=_time(n),
            system="sample",
            level=level,
            message=f"{level} {line}",
            fields={"component": "relay"},
        )
        for n, (level, line) in enumerate(zip(("INFO", "WARN", "ERROR"), lines, strict=True))
    ]


def _analytics() -> list[Record]:
    return [
        Fact(
            id=derived_uuid("sample fact", str(n)),
            timestamp=_time(n),
            fact_type="trade",
            subject=f"asset-{n % 2}",
            value=Decimal("12.5") + n,
            dimensions={"side": "buy" if n % 2 else "sell"},
        )
        for n in range(4)
    ]


def _sealed() -> list[Record]:
    blob = bytes(range(256)) * 2
    return [
        SealedBlob(
            data_key="sample/key-1",
            enclave_id="sample-enclave",
            policy="MRENCLAVE",
            mac=hashlib.sha256(blob).hexdigest(),
            blob=blob,
        )
    ]


def _objects() -> list[Record]:
    return [
        StoredObject(
            bucket="neo-samples",
            name=f"reports/{n}.txt",
            content=f"report {n}\n".encode(),
            content_type="text/plain",
        )
        for n in range(2)
    ]


def _audit_logs() -> list[Record]:
    model = record_type("audit_logs")
    return [
        model.parse(
            {
                "_id": f"sample-{n}",
                "timestamp": _time(n),
                "user_id": "sample-alice",
                "action": action,
                "resource": "orders",
                "resource_id": "order-1",
                "ip_address": "192.0.2.10",
                "success": True,
            }
        )
        for n, action in enumerate(("CREATE", "READ", "EXECUTE"))
    ]


def _contract_metadata() -> list[Record]:
    document = {
        "network": "sample",
        "address": _address(100),
        "name": "SampleToken",
        "abi": [_TOTAL_SUPPLY],
        "tags": ["erc20", "sample"],
    }
    return [record_type("contract_metadata").parse(document)]


_MAKERS: dict[str, Callable[[], list[Record]]] = {
    "accounts": _accounts,
    "networks": _networks,
    "wallets": _wallets,
    "transactions": _transactions,
    "contracts": _contracts,
    "events": _events,
    "metrics": _metrics,
    "audit_logs": _audit_logs,
    "contract_metadata": _contract_metadata,
    "logs": _logs,
    "analytics": _analytics,
    "sealed": _sealed,
    "objects": _objects,
}

SAMPLED = tuple(_MAKERS)
"""The data types with a sample, in an order in which each finds what it refers to."""


@lru_cache
def samples(data_type: str) -> tuple[Record, ...]:
    """The sample records of one data type: always the same, so writing them twice adds nothing."""
    return tuple(_MAKERS[data_type]()) if data_type in _MAKERS else ()
