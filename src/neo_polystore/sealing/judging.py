"""Whether a stored item is what was written last, and whether this opener may have it."""

from __future__ import annotations

from datetime import datetime

from neo_polystore.errors import (
    ConflictError,
    ForbiddenError,
    IntegrityError,
    NotFoundError,
    UnsupportedError,
)
from neo_polystore.ports.sealing import Found
from neo_polystore.records.sealing import Head, Identity, Opener
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.ring import destroyed


def newest(key: str, found: Found | None, *, now: datetime | None) -> Head:
    """The head of an item whose row fits it.

    NotFoundError where there is none, UnsupportedError for a blob that was sealed elsewhere, and
    IntegrityError where the row is not the one that was written last. Without `now` an item that
    has expired is still there.
    """
    if found is None or found.version is None:
        raise missing(key)
    head = found.head
    if head is None:
        raise UnsupportedError(
            f"{key!r} was sealed elsewhere: it is kept as it is, read it as data type `sealed`"
        )
    if head.deleted_at is not None:
        raise IntegrityError(f"rollback: {key!r} was deleted, and its row is back")
    if found.version < head.binding.version:
        raise IntegrityError(
            f"rollback: version {found.version} of {key!r} stands in place of"
            f" {head.binding.version}"
        )
    fits = (found.version, found.mac, found.enclave) == (
        head.binding.version,
        head.mac.hex(),
        head.binding.enclave,
    )
    if not fits:
        raise IntegrityError(f"the row of {key!r} is not the one that was written last")
    if now is not None and head.expires_at is not None and head.expires_at <= now:
        raise missing(key)
    if found.key_state in (None, "destroyed"):
        raise destroyed(head.key_id)
    return head


def next_version(key: str, found: Found | None, *, expected: int | None) -> int:
    """The version that a write of this item makes; ConflictError where `expected` is not stored.

    `expected` 0 says that the item must be new. Versions of a deleted item go on where they were.
    """
    head = found.head if found else None
    stored = 0 if head is None or head.deleted_at else head.binding.version
    if found and found.version is not None and not stored:
        raise ConflictError(f"{key!r} holds a blob that was sealed elsewhere")
    if expected is not None and expected != stored:
        raise ConflictError(f"{key!r} has version {stored}, expected {expected}")
    return (head.binding.version if head else 0) + 1


def admit(head: Head, opener: Opener, policy: SealingPolicy | None) -> None:
    """ForbiddenError unless the item is sealed for this opener, and the policy lets it."""
    objection = head.binding.identity.objection(opener)
    if objection is None and policy is not None:
        objection = _refusal(policy, opener)
    if objection is not None:
        raise ForbiddenError(f"{head.binding.data_key!r} does not open: {objection}")


def _refusal(policy: SealingPolicy, opener: Opener) -> str | None:
    if policy.allowed_enclaves and opener.mr_enclave not in policy.allowed_enclaves:
        return "the policy does not allow this enclave"
    low = policy.svn_floor is not None and (opener.svn or 0) < policy.svn_floor
    if low and policy.policy_type != "USER_DEFINED":
        return f"the policy's SVN floor is {policy.svn_floor}, above the opener's SVN"
    return None


def fitting(policy: SealingPolicy, identity: Identity) -> None:
    """ConflictError where an item cannot be sealed under this policy."""
    if identity.policy != policy.policy_type:
        raise ConflictError(f"the policy {policy.name!r} is for {policy.policy_type}")
    floor = identity.svn_floor
    if floor is not None and policy.svn_floor is not None and floor < policy.svn_floor:
        raise ConflictError(f"the policy {policy.name!r} has the SVN floor {policy.svn_floor}")
    enclaves = policy.allowed_enclaves
    if enclaves and identity.policy == "MRENCLAVE" and identity.measurement not in enclaves:
        raise ConflictError(f"the policy {policy.name!r} does not allow this enclave")


def missing(key: str) -> NotFoundError:
    """The error for what is not there, or is another's."""
    return NotFoundError(f"no sealed item {key!r}", operation="sealing")
