"""Whether sealing works: the storage, the key, the mode; and what should be sealed anew."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from neo_polystore.errors import PolystoreError
from neo_polystore.records.sealing import Binding, Identity, ServiceOwner
from neo_polystore.sealing.blob import seal, unseal
from neo_polystore.sealing.derivation import MASTER, MasterKey
from neo_polystore.sealing.service import Sealing


@dataclass(frozen=True, slots=True)
class SealingHealth:
    """`key_usable`: a blob was sealed and opened just now, under the active key, in memory; where
    there is none yet, its wrapping key wrapped and unwrapped another. Asking changes nothing.

    In simulation openers are believed what they say of their enclave; in hardware mode an
    attestation must prove it. `below_svn_floor` counts items that an enclave may open whose SVN
    their policy has ruled out since.
    """

    status: Literal["healthy", "degraded", "unhealthy"]
    mode: Literal["hardware", "simulation"]
    storage: bool
    key_present: bool = False
    key_usable: bool = False
    wrapped_by: str | None = None
    oldest_key_days: float | None = None
    retiring_keys: int = 0
    below_svn_floor: int = 0
    detail: str = ""


async def check_sealing(sealing: Sealing) -> SealingHealth:
    """Probe it now."""
    fields: dict[str, Any] = {"mode": "hardware" if sealing.rules.hardware else "simulation"}
    try:
        keys = await sealing.ring.store.all()
    except PolystoreError as error:
        return SealingHealth("unhealthy", storage=False, detail=error.message, **fields)
    living = [key for key in keys if key.state != "destroyed"]
    now = datetime.now(UTC)
    fields |= {
        "storage": True,
        "key_present": any(key.state == "active" for key in living),
        "retiring_keys": sum(key.state == "retiring" for key in living),
        "oldest_key_days": max(
            ((now - key.created_at).total_seconds() / 86400 for key in living), default=None
        ),
    }
    try:
        await _try_key(sealing, exists=fields["key_present"])
        fields |= {"key_usable": True, "wrapped_by": sealing.ring.wrapper.name}
    except PolystoreError as error:
        return SealingHealth("unhealthy", detail=error.message, **fields)
    try:
        fields["below_svn_floor"] = await _below_floor(sealing)
    except PolystoreError as error:
        return SealingHealth("degraded", detail=error.message, **fields)
    problems = [] if fields["key_present"] else ["no item was sealed yet: the first makes the key"]
    if fields["retiring_keys"]:
        problems.append("a rotation was not completed: run `neo-polystore sealed rotate`")
    if fields["below_svn_floor"]:
        problems.append("items are sealed below the SVN floor of their policy: seal them again")
    wrong = fields["retiring_keys"] or fields["below_svn_floor"]
    status: Literal["healthy", "degraded"] = "degraded" if wrong else "healthy"
    return SealingHealth(status, detail="; ".join(problems), **fields)


async def _try_key(sealing: Sealing, *, exists: bool) -> None:
    if exists:
        sealing.ring.refresh()
        master = await sealing.ring.active()
    else:
        wrapper, material = sealing.ring.wrapper, secrets.token_bytes(MASTER)
        wrapped = await wrapper.wrap(material, context="probe")
        master = MasterKey("probe", await wrapper.unwrap(wrapped, context="probe"))
    binding = Binding(
        ServiceOwner("health"), "probe", "", Identity(policy="USER_DEFINED", label="probe"), 1
    )
    content = secrets.token_bytes(32)
    sealed = seal(content, master=master, binding=binding)
    if unseal(sealed.blob, sealed.mac, master=master, binding=binding) != content:
        raise PolystoreError("what was sealed did not open", operation="sealing")


async def _below_floor(sealing: Sealing) -> int:
    floors = {policy.name: policy.svn_floor for policy in await sealing.policies()}
    return sum(
        found.items
        for found in await sealing.survey()
        if found.svn_floor is not None and found.svn_floor < (floors.get(found.policy_name) or 0)
    )
