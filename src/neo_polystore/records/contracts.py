"""Smart contracts as they stand on a chain (their documentation lives in contract_metadata)."""

from __future__ import annotations

from typing import Any, ClassVar

from neo_polystore.records.base import Address, Record, Text, Text50, Text255, Utc
from neo_polystore.records.networks import ChainId


class Contract(Record):
    """`abi` is the Solidity JSON ABI (empty where unknown), `bytecode` 0x hex."""

    data_type: ClassVar[str] = "contracts"
    time_field: ClassVar[str | None] = "deployed_at"

    chain_id: ChainId
    address: Address
    name: Text255 | None = None
    symbol: Text50 | None = None
    contract_type: Text50
    abi: list[dict[str, Any]] = []
    bytecode: Text | None = None
    source_code: Text | None = None
    compiler_version: Text50 | None = None
    optimization_enabled: bool | None = None
    verified: bool = False
    deployed_by: Address | None = None
    deployed_at: Utc | None = None

    @property
    def key(self) -> str:
        """`{chain_id}:{address}`."""
        return f"{self.chain_id}:{self.address}"
