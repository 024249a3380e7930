"""Blockchain networks, identified by their EIP-155 chain id."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from neo_polystore.records.base import Record, Text50, Text100, Text500

ChainId = Annotated[int, Field(ge=0, lt=2**63)]


class Network(Record):
    """One chain and where to reach it. `rpc_endpoint` may carry `${...}` placeholders."""

    data_type: ClassVar[str] = "networks"
    text_field: ClassVar[str | None] = "name"

    chain_id: ChainId
    name: Text100
    network_type: Text50 = "evm"
    rpc_endpoint: Text500
    ws_endpoint: Text500 | None = None
    explorer_url: Text500 | None = None
    is_testnet: bool = False
    is_active: bool = True

    @property
    def key(self) -> str:
        """The chain id in decimal digits."""
        return str(self.chain_id)
