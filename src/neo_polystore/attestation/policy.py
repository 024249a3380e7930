"""What a verified quote has to be for its enclave to be trusted: data, not code."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from neo_polystore.attestation.collateral import Collateral
from neo_polystore.attestation.quote import Quote

TcbStatus = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
]
"""As Intel's TCB info names them."""

Measurement = Annotated[
    str, StringConstraints(pattern=r"^([0-9a-fA-F]{64}|[0-9a-fA-F]{96})$", to_lower=True)
]

ReportData = Annotated[str, StringConstraints(pattern=r"^([0-9a-fA-F]{2}){1,64}$", to_lower=True)]


class Policy(BaseModel):
    """Everything that is given must hold; an empty list of measurements allows any.

    The defaults trust a platform that is up to date and no debug enclave. `advisories` names
    those (INTEL-SA-...) that are accepted beside the status; None accepts all that come with an
    accepted status. Neither a revoked platform nor a debug enclave is ever accepted.
    `report_data` is what the enclave was asked to put first into its report, in hexadecimal: a
    challenge that nobody has used before tells a fresh quote from one that is played again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    statuses: frozenset[TcbStatus] = frozenset({"UpToDate"})
    advisories: frozenset[str] | None = None
    mr_enclaves: frozenset[Measurement] = frozenset()
    mr_signers: frozenset[Measurement] = frozenset()
    product_id: Annotated[int, Field(ge=0, le=65535)] | None = None
    lowest_svn: Annotated[int, Field(ge=0, le=65535)] = 0
    longest_collateral_age: timedelta | None = None
    report_data: ReportData | None = None

    def objections(
        self,
        quote: Quote,
        collateral: Collateral,
        *,
        status: str,
        advisories: list[str],
        at: datetime,
    ) -> list[str]:
        """Every reason not to trust it; none: trust it."""
        found = []
        if status == "Revoked" or status not in self.statuses:
            found.append(f"TCB status {status}, accepted are {_listed(self.statuses)}")
        if self.advisories is not None and (open_ := sorted({*advisories} - self.advisories)):
            found.append(f"open advisories {', '.join(open_)}")
        if quote.is_debug:
            found.append("a debug enclave, which its host can look into")
        if self.mr_enclaves and quote.mr_enclave not in self.mr_enclaves:
            found.append(f"MRENCLAVE {quote.mr_enclave} is not on the list")
        if self.mr_signers and quote.mr_signer not in self.mr_signers:
            found.append(f"MRSIGNER {quote.mr_signer} is not on the list")
        if self.product_id is not None and quote.isv_prod_id != self.product_id:
            found.append(f"product id {quote.isv_prod_id}, expected {self.product_id}")
        if quote.isv_svn < self.lowest_svn:
            found.append(f"SVN {quote.isv_svn}, the lowest accepted is {self.lowest_svn}")
        if not quote.report_data.startswith(bytes.fromhex(self.report_data or "")):
            found.append(
                "REPORTDATA does not begin as it should: the quote answers another challenge"
            )
        if self.longest_collateral_age is not None:
            age = at - collateral.issued
            if age > self.longest_collateral_age:
                found.append(f"collateral is {age} old, at most {self.longest_collateral_age}")
        return found


def _listed(values: frozenset[TcbStatus]) -> str:
    return ", ".join(sorted(values)) or "none"
