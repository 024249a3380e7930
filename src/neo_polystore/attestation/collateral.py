"""Collateral: what Intel says about platforms at a time, which a quote is verified against.

As JSON with the members that Intel's provisioning service (PCS, API version 4) answers with.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from dcap_qvl import QuoteCollateralV3

from neo_polystore.attestation.reader import bad
from neo_polystore.errors import ValidationError

MEMBERS: Final = (
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
)

OPTIONAL: Final = ("pck_certificate_chain",)

MOST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Collateral:
    """`issued` is the older of the issue dates of TCB info and QE identity; both end at `next`."""

    text: str
    native: QuoteCollateralV3
    fmspc: str
    issued: datetime
    next: datetime
    evaluation: int


def parse_collateral(data: bytes | str) -> Collateral:
    """Read collateral; raises ValidationError naming the member that is wrong."""
    if len(data) > MOST:
        raise bad("collateral", f"{len(data)} bytes, at most {MOST} are read")
    try:
        members = orjson.loads(data)
    except ValueError as error:
        raise bad("collateral", f"no JSON: {error}") from None
    if not isinstance(members, dict):
        raise bad("collateral", "expected a JSON object")
    for name in MEMBERS:
        if not isinstance(members.get(name), str):
            raise bad(f"collateral.{name}", "missing" if name not in members else "no text")
    if unknown := sorted(set(members) - {*MEMBERS, *OPTIONAL}):
        raise bad(f"collateral.{unknown[0]}", "unknown member")
    tcb, identity = _inner(members, "tcb_info"), _inner(members, "qe_identity")
    text = orjson.dumps(members).decode()
    try:
        native = QuoteCollateralV3.from_json(text)
    except ValueError as error:
        raise bad("collateral", str(error)) from None
    try:
        return Collateral(
            text=text,
            native=native,
            fmspc=str(tcb["fmspc"]).lower(),
            issued=min(_time(tcb["issueDate"]), _time(identity["issueDate"])),
            next=min(_time(tcb["nextUpdate"]), _time(identity["nextUpdate"])),
            evaluation=int(tcb["tcbEvaluationDataNumber"]),
        )
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise bad("collateral.tcb_info", f"lacks or garbles {error}") from None


def _inner(members: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        found = orjson.loads(members[name])
    except ValueError as error:
        raise bad(f"collateral.{name}", f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise bad(f"collateral.{name}", "expected a JSON object")
    return found


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} without a zone")
    return time
