"""Judges a quote: cryptography by the library dcap-qvl, everything else by the policy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dcap_qvl
import orjson

from neo_polystore.attestation.collateral import Collateral, parse_collateral
from neo_polystore.attestation.policy import Policy
from neo_polystore.attestation.quote import Quote, parse_quote
from neo_polystore.errors import UsageError, ValidationError


@dataclass(frozen=True, slots=True)
class Verdict:
    """`genuine`: Intel's root vouches for quote and platform at that time, with this collateral.

    `accepted`: genuine, and the policy has no objection; otherwise `reasons` says why not.
    `status` and `advisories` are Intel's, where the quote is genuine. The same quote, collateral,
    policy and time always give the same verdict: no clock, no network.
    """

    accepted: bool
    genuine: bool
    at: datetime
    status: str | None
    advisories: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    quote: Quote | None = None
    digest: str = ""
    expires: datetime | None = None
    simulated: bool = field(default=False)

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "accepted": self.accepted,
            "genuine": self.genuine,
            "at": self.at.isoformat(),
            "status": self.status,
            "advisories": list(self.advisories),
            "reasons": list(self.reasons),
            "expires": self.expires.isoformat() if self.expires else None,
            "sha256": self.digest,
            "simulated": self.simulated,
            "quote": self.quote.as_dict() if self.quote else None,
        }


def judge(
    quote: bytes,
    collateral: bytes | str,
    *,
    at: datetime,
    policy: Policy,
    root: bytes | None = None,
) -> Verdict:
    """The verdict on a quote at a time.

    `root` is the certificate (DER) to trust in place of Intel's own SGX Root CA. A quote or
    collateral that cannot be read is a verdict, too: not genuine. Raises UsageError for a time
    without a zone or before 1970.
    """
    if at.tzinfo is None or at.timestamp() < 0:
        raise UsageError("the time of a verdict needs a zone and lies after 1970")
    at = at.astimezone(UTC)
    digest = hashlib.sha256(quote).hexdigest()
    try:
        parsed = parse_quote(quote)
        known = parse_collateral(collateral)
    except ValidationError as error:
        return Verdict(False, False, at, None, reasons=(error.message,), digest=digest)
    try:
        seconds = int(at.timestamp())
        if root is None:
            report = dcap_qvl.verify(quote, known.native, seconds)
        else:
            report = dcap_qvl.verify_with_root_ca(quote, known.native, root, seconds)
    except ValueError as error:
        return Verdict(
            False, False, at, None, reasons=(_first_line(error),), quote=parsed, digest=digest
        )
    return _judged(report, parsed, known, at=at, policy=policy, digest=digest)


def _judged(
    report: Any, quote: Quote, known: Collateral, *, at: datetime, policy: Policy, digest: str
) -> Verdict:
    status, advisories = str(report.status), sorted(report.advisory_ids)
    _agree(report, quote)
    objections = policy.objections(quote, known, status=status, advisories=advisories, at=at)
    return Verdict(
        accepted=not objections,
        genuine=True,
        at=at,
        status=status,
        advisories=tuple(advisories),
        reasons=tuple(objections),
        quote=quote,
        digest=digest,
        expires=known.next,
    )


def _agree(report: Any, quote: Quote) -> None:
    """What was verified must be what was read: two readers that differ are one bug too many."""
    verified = orjson.loads(report.to_json())["report"]
    [(_, fields)] = verified.items()
    base = fields.get("base", fields)
    if str(base["report_data"]) != quote.report_data.hex():
        raise AssertionError("the verified report is not the one that was read")


def _first_line(error: ValueError) -> str:
    return " ".join(str(error).removeprefix("Verification failed: ").split())[:1000]
