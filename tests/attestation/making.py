"""Makes quotes of every version by their layout; their signatures are noise."""

from __future__ import annotations

import random

from neo_polystore.attestation.layout import (
    HEADER_3,
    HEADER_4,
    SGX_REPORT,
    TD_REPORT_10,
    TD_REPORT_15,
    Fields,
)
from neo_polystore.attestation.quote import INTEL

PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

SHAPES = {
    "v3 SGX": (3, 0x00, 1),
    "v4 SGX": (4, 0x00, 1),
    "v4 TDX": (4, 0x81, 2),
    "v5 SGX": (5, 0x00, 1),
    "v5 TDX 1.0": (5, 0x81, 2),
    "v5 TDX 1.5": (5, 0x81, 3),
}
"""Version, TEE type, body type."""

BODIES: dict[int, Fields] = {1: SGX_REPORT, 2: TD_REPORT_10, 3: TD_REPORT_15}


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def block(fields: Fields, chance: random.Random, **known: bytes | int) -> bytes:
    """The fields in their order: as given, zero where they must be, noise elsewhere."""
    data = b""
    for field in fields:
        value = known.get(field.name)
        if isinstance(value, int):
            value = number(value, field.size)
        if value is None:
            value = bytes(field.size) if field.kind == "zero" else chance.randbytes(field.size)
        assert len(value) == field.size, field.name
        data += value
    return data


def make_quote(
    shape: str,
    *,
    seed: int = 1,
    auth: bytes = b"auth",
    certificates: bytes = PEM,
    certification: int = 5,
    **report: bytes | int,
) -> bytes:
    """A quote of one of the SHAPES; `report` sets fields of its report."""
    version, tee, kind = SHAPES[shape]
    chance = random.Random(seed)
    header = block(
        HEADER_3 if version == 3 else HEADER_4,
        chance,
        version=version,
        key_type=2,
        tee_type=tee,
        qe_vendor_id=INTEL,
    )
    body = block(BODIES[kind], chance, **report)
    if version == 5:
        body = number(kind, 2) + number(len(body), 4) + body
    inner = block(SGX_REPORT, chance) + chance.randbytes(64) + number(len(auth), 2) + auth
    inner += number(certification, 2) + number(len(certificates), 4) + certificates
    if version >= 4:
        inner = number(6, 2) + number(len(inner), 4) + inner
    signed = chance.randbytes(128) + inner
    return header + body + number(len(signed), 4) + signed
