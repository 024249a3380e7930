"""Keys, owners and bindings that the tests of sealing share; everything in them is fixed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

from neo_polystore.records.sealing import Binding, Identity, ServiceOwner, UserOwner
from neo_polystore.sealing.derivation import MasterKey

TENANT = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
USER = UUID("01890a5d-ac96-774b-bcce-b302099a8058")
ENCLAVE = "11" * 32
SIGNER = "22" * 32

MRENCLAVE = Identity(policy="MRENCLAVE", measurement=ENCLAVE)
MRSIGNER = Identity(policy="MRSIGNER", measurement=SIGNER, product_id=7, svn_floor=3)
LABELLED = Identity(policy="USER_DEFINED", label="payroll")
IDENTITIES = (MRENCLAVE, MRSIGNER, LABELLED)

BINDING = Binding(
    owner=UserOwner(TENANT, USER),
    data_key="wallet/seed",
    enclave="enclave-1",
    identity=MRSIGNER,
    version=1,
    policy_name="wallets",
)

OTHERS: dict[str, dict[str, Any]] = {
    "tenant": {"owner": UserOwner(USER, USER)},
    "user": {"owner": UserOwner(TENANT, TENANT)},
    "service": {"owner": ServiceOwner("wallets")},
    "data key": {"data_key": "wallet/seed2"},
    "enclave": {"enclave": "enclave-2"},
    "policy": {"identity": MRENCLAVE},
    "signer": {"identity": MRSIGNER.model_copy(update={"measurement": ENCLAVE})},
    "product": {"identity": MRSIGNER.model_copy(update={"product_id": 8})},
    "SVN floor": {"identity": MRSIGNER.model_copy(update={"svn_floor": 2})},
    "label": {"identity": LABELLED},
    "version": {"version": 2},
    "policy name": {"policy_name": "wallet"},
}
"""Each part that a blob is bound to, as another one."""


def master(number: int = 1) -> MasterKey:
    """The master key `sealing:<number>` of the tests."""
    return MasterKey(f"sealing:{number}", bytes((number + place) % 256 for place in range(32)))


def entropy(seed: int = 0) -> Callable[[int], bytes]:
    """Random bytes that are always the same."""
    return random.Random(seed).randbytes


def counting() -> Callable[[int], bytes]:
    """Bytes that count up, each call from 0: anybody can write them down."""
    return lambda size: bytes(range(size))
