"""Where the fields of DCAP quotes lie, as tables.

Sources: Intel SGX ECDSA Quote Library API, appendix A.4 (quote version 3); Intel TDX DCAP Quoting
Library API, appendix A.3 (versions 4 and 5). All numbers are little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["bytes", "number", "zero"]


@dataclass(frozen=True, slots=True)
class Field:
    """So many bytes under a name; `zero` must be all zero."""

    name: str
    size: int
    kind: Kind = "bytes"


Fields = tuple[Field, ...]

HEADER_3: Final[Fields] = (
    Field("version", 2, "number"),
    Field("key_type", 2, "number"),
    Field("reserved", 4, "zero"),
    Field("qe_svn", 2, "number"),
    Field("pce_svn", 2, "number"),
    Field("qe_vendor_id", 16),
    Field("user_data", 20),
)
HEADER_4: Final[Fields] = (
    Field("version", 2, "number"),
    Field("key_type", 2, "number"),
    Field("tee_type", 4, "number"),
    Field("reserved", 4),  # Intel's library writes the SVNs of version 3 here for SGX
    Field("qe_vendor_id", 16),
    Field("user_data", 20),
)

SGX_REPORT: Final[Fields] = (
    Field("cpu_svn", 16),
    Field("misc_select", 4, "number"),
    Field("reserved1", 12, "zero"),
    Field("isv_ext_prod_id", 16),
    Field("attributes", 8, "number"),
    Field("xfrm", 8, "number"),
    Field("mr_enclave", 32),
    Field("reserved2", 32, "zero"),
    Field("mr_signer", 32),
    Field("reserved3", 32, "zero"),
    Field("config_id", 64),
    Field("isv_prod_id", 2, "number"),
    Field("isv_svn", 2, "number"),
    Field("config_svn", 2, "number"),
    Field("reserved4", 42, "zero"),
    Field("isv_family_id", 16),
    Field("report_data", 64),
)
TD_REPORT_10: Final[Fields] = (
    Field("tee_tcb_svn", 16),
    Field("mr_seam", 48),
    Field("mr_signer_seam", 48),
    Field("seam_attributes", 8, "number"),
    Field("td_attributes", 8, "number"),
    Field("xfam", 8, "number"),
    Field("mr_td", 48),
    Field("mr_config_id", 48),
    Field("mr_owner", 48),
    Field("mr_owner_config", 48),
    Field("rtmr0", 48),
    Field("rtmr1", 48),
    Field("rtmr2", 48),
    Field("rtmr3", 48),
    Field("report_data", 64),
)
TD_REPORT_15: Final[Fields] = (
    *TD_REPORT_10,
    Field("tee_tcb_svn2", 16),
    Field("mr_service_td", 48),
)


def size_of(fields: Fields) -> int:
    """The bytes of all of them."""
    return sum(field.size for field in fields)
