"""Who owns a sealed item, for which enclaves it is sealed, and who asks to open it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic import ValidationError as PydanticError

from neo_polystore.errors import ValidationError
from neo_polystore.records.base import problems_of
from neo_polystore.records.sealed import Policy

Measurement = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]
Number = Annotated[int, Field(ge=0, le=65535)]


@dataclass(frozen=True, slots=True)
class UserOwner:
    """A user of a tenant: the item lives in `enclave.sealed_data`, as long as nobody deletes it."""

    tenant: UUID
    user: UUID

    def __str__(self) -> str:
        return f"user:{self.user}"


@dataclass(frozen=True, slots=True)
class ServiceOwner:
    """A service of the platform: the item lives in `sgx.sealed_data_items` until it expires."""

    service: str

    def __str__(self) -> str:
        return f"service:{self.service}"


Owner = UserOwner | ServiceOwner


class Identity(BaseModel):
    """For whom an item is sealed, after Intel's key policies.

    MRENCLAVE: exactly the enclave with this measurement. MRSIGNER: every enclave of this signer
    and product whose SVN is not below `svn_floor`. USER_DEFINED: whoever names this label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Policy
    measurement: Measurement | None = None
    product_id: Number | None = None
    svn_floor: Number | None = None
    label: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        signer = self.policy == "MRSIGNER"
        wanted = {
            "measurement": self.policy != "USER_DEFINED",
            "product_id": signer,
            "svn_floor": signer,
            "label": self.policy == "USER_DEFINED",
        }
        for name, needed in wanted.items():
            if (getattr(self, name) is not None) != needed:
                raise ValueError(f"{self.policy} takes {'a' if needed else 'no'} {name}")
        return self

    @classmethod
    def of(cls, **fields: Any) -> Identity:
        """The identity with these fields; ValidationError naming the one that is wrong."""
        try:
            return cls(**fields)
        except PydanticError as error:
            raise ValidationError(problems_of(error), operation="sealing") from None

    def objection(self, opener: Opener) -> str | None:
        """Why an item that is sealed for this identity is none of the opener's; None: it is."""
        match self.policy:
            case "MRENCLAVE":
                found = opener.mr_enclave == self.measurement
                return None if found else "it is sealed for another MRENCLAVE"
            case "MRSIGNER":
                if opener.mr_signer != self.measurement:
                    return "it is sealed for another MRSIGNER"
                if opener.product_id != self.product_id:
                    return "it is sealed for another product of this signer"
                if opener.svn is None or opener.svn < (self.svn_floor or 0):
                    return f"its SVN floor is {self.svn_floor}, above the opener's SVN"
                return None
            case _:
                return None if opener.label == self.label else "it is sealed under another label"


class Opener(BaseModel):
    """What an opener says of itself. In simulation it is believed; an attestation proves it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mr_enclave: Measurement | None = None
    mr_signer: Measurement | None = None
    product_id: Number | None = None
    svn: Number | None = None
    label: str | None = None
    attestation: UUID | None = None

    @classmethod
    def of(cls, **fields: Any) -> Opener:
        """The opener with these fields; ValidationError naming the one that is wrong."""
        try:
            return cls(**fields)
        except PydanticError as error:
            raise ValidationError(problems_of(error), operation="sealing") from None


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed blob belongs to; it opens nowhere else."""

    owner: Owner
    data_key: str
    enclave: str
    identity: Identity
    version: int
    policy_name: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an item without opening it: the newest version and the MAC that it has.

    `generation` rises with every write, also where the same version was sealed anew under
    another key. `deleted` is when the item went; its version goes on from there.
    """

    binding: Binding
    mac: bytes
    key_id: str
    generation: int
    size: int
    sealed_at: datetime
    written_at: datetime
    expires_at: datetime | None = None
    deleted_at: datetime | None = None
    attestation: UUID | None = None

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types, for people and answers."""
        identity = self.binding.identity.model_dump(exclude_none=True)
        return {
            "owner": str(self.binding.owner),
            "data_key": self.binding.data_key,
            "version": self.binding.version,
            "enclave": self.binding.enclave,
            **identity,
            "policy_name": self.binding.policy_name or None,
            "key_id": self.key_id,
            "size": self.size,
            "sealed_at": self.sealed_at,
            "written_at": self.written_at,
            "expires_at": self.expires_at,
            "attestation": self.attestation,
        }
