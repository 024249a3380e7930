"""Blobs that an enclave sealed: stored and returned byte for byte, never opened here."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from neo_polystore.ids import SYSTEM_USER
from neo_polystore.records.base import Blob, Record, Text, Text255

Policy = Literal["MRENCLAVE", "MRSIGNER", "USER_DEFINED"]


class SealedBlob(Record):
    """`mac` is the 64 hexadecimal digits that the sealing side computed.

    `version` counts the times this data key was written, from 1; the store assigns it.
    """

    data_type: ClassVar[str] = "sealed"

    owner: UUID = SYSTEM_USER
    data_key: Annotated[Text, StringConstraints(min_length=1, max_length=200)]
    enclave_id: Text255
    policy: Policy
    mac: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", to_lower=True)]
    blob: Blob = Field(repr=False)
    version: int | None = None

    @property
    def key(self) -> str:
        """`{owner}:{data_key}`."""
        return f"{self.owner}:{self.data_key}"
