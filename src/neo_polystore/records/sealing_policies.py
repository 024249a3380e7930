"""Named sealing policies: rules for all that is sealed under a name."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic import ValidationError as PydanticError

from neo_polystore.errors import ValidationError
from neo_polystore.records.base import problems_of
from neo_polystore.records.sealed import Policy
from neo_polystore.records.sealing import Measurement, Number


class SealingPolicy(BaseModel):
    """`allowed_enclaves` are MRENCLAVEs, none: any; openers below `svn_floor` are refused.

    Items of services expire after `retention_days`. With `attestation_max_age` an item opens only
    for an attestation that was accepted, judged by `attestation_policy`, and is no older.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$")]
    policy_type: Policy
    retention_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    key_rotation_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    allowed_enclaves: frozenset[Measurement] = frozenset()
    svn_floor: Number | None = None
    attestation_max_age: Annotated[timedelta, Field(gt=timedelta(0))] | None = None
    attestation_policy: dict[str, Any] | None = None

    @classmethod
    def of(cls, text: bytes | str) -> SealingPolicy:
        """The policy that this JSON is; ValidationError naming the field that is wrong."""
        try:
            return cls.model_validate_json(text)
        except PydanticError as error:
            raise ValidationError(problems_of(error), operation="sealing") from None
