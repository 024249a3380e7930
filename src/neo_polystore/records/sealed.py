"""Blobs that an enclave sealed: stored and returned byte for byte, never opened here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from neo_polystore.ids import SYSTEM_USER
from neo_polystore.records.base import Blob, Record, Text, Text255, Utc

Policy = Literal["MRENCLAVE", "MRSIGNER", "USER_DEFINED"]


class EnclaveBlob(Record):
    """What an enclave sealed; who owns it is the subclasses' matter.

    `mac` is the 64 hexadecimal digits that the sealing side computed. `version` counts the times
    this data key was written, from 1; the store assigns it.
    """

    data_key: Annotated[Text, StringConstraints(min_length=1, max_length=200)]
    enclave_id: Text255
    policy: Policy
    mac: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", to_lower=True)]
    blob: Blob = Field(repr=False)
    version: int | None = None


class SealedBlob(EnclaveBlob):
    """A blob of a tenant's user."""

    data_type: ClassVar[str] = "sealed"

    owner: UUID = SYSTEM_USER

    @property
    def key(self) -> str:
        """`{owner}:{data_key}`."""
        return f"{self.owner}:{self.data_key}"


class ServiceBlob(EnclaveBlob):
    """A blob of the service within whose scope it is written and read.

    It is kept until `expires_at`; None: as long as the items of services are kept from now on,
    or where the same blob is stored already, as long as that one is.
    """

    data_type: ClassVar[str] = "service_blobs"

    expires_at: Utc | None = None

    @property
    def key(self) -> str:
        """The data key, unique among its service's."""
        return self.data_key


@dataclass(frozen=True, slots=True)
class BlobFacts:
    """What is known of a service's blob without its bytes; `sha256` and `size` are theirs."""

    data_key: str
    version: int
    enclave_id: str
    policy: Policy
    mac: str
    sha256: str
    size: int
    written_at: datetime
    expires_at: datetime | None
