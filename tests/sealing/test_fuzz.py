"""A fuzz run of everything that reads bytes from outside: it refuses, and never fails otherwise."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from neo_polystore.attestation.collateral import parse_collateral
from neo_polystore.attestation.policy import Policy
from neo_polystore.attestation.quote import parse_quote
from neo_polystore.attestation.verdict import judge
from neo_polystore.errors import IntegrityError, ValidationError
from neo_polystore.sealing.blob import seal, unseal
from neo_polystore.sealing.envelope import parse_header
from tests.attestation.making import SHAPES, make_quote
from tests.attestation.pki import NOW, Intel
from tests.sealing.making import BINDING, entropy, master

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """The bytes with one to eight changes, of kinds that parsers stumble over."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                number = chance.choice(NUMBERS).to_bytes(4, chance.choice(("little", "big")))
                data[at : at + 4] = number[: chance.choice((1, 2, 4))]
            case 2:
                del data[at : at + chance.randint(1, 64)]
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 64))
            case 4:
                other = chance.randrange(len(data) + 1)
                data[at:at] = data[other : other + chance.randint(1, 200)]
            case _:
                del data[at:]
    return bytes(data)


def fuzz(
    read: Callable[[bytes], object],
    seeds: Sequence[bytes],
    *,
    refusal: type[Exception],
    count: int,
) -> int:
    """Read changed seeds, and changed ones that were read again; how many were read."""
    chance, pool, passed = random.Random(count), list(seeds), 0
    for _ in range(count):
        data = mutated(chance.choice(pool), chance)
        with suppress(refusal):
            read(data)
            passed += 1
            if len(pool) < 500:
                pool.append(data)
    return passed


COUNTS = pytest.mark.parametrize("count", [2_000, pytest.param(300_000, marks=pytest.mark.long)])


@COUNTS
def test_quotes(count: int) -> None:
    seeds = [make_quote(shape, seed=n) for shape in SHAPES for n in range(3)]
    assert fuzz(parse_quote, seeds, refusal=ValidationError, count=count) > count // 100


@COUNTS
def test_collateral(count: int) -> None:
    intel = Intel()
    inner = json.dumps({"tcb_info": "[" * 5000, "qe_identity": "{"}).encode()
    seeds = [intel.collateral(), intel.collateral(tcb_info="{}"), inner]
    fuzz(parse_collateral, seeds, refusal=ValidationError, count=count // 4)


@COUNTS
def test_headers(count: int) -> None:
    whole = bytes(seal(b"x" * 100, master=master(), binding=BINDING, entropy=entropy()).blob)
    seeds = [whole, b"NPS1\x01\x01" + whole[6:]]
    assert fuzz(parse_header, seeds, refusal=IntegrityError, count=count) > count // 100


@COUNTS
def test_no_changed_blob_opens(count: int) -> None:
    key = master()
    sealed = seal(b"x" * 300, master=key, binding=BINDING, entropy=entropy())

    def read(blob: bytes) -> None:
        opened = unseal(blob, sealed.mac, master=key, binding=BINDING)
        assert blob == sealed.blob, bytes(opened)

    fuzz(read, [bytes(sealed.blob)], refusal=IntegrityError, count=count // 4)


@COUNTS
def test_no_changed_quote_is_accepted(count: int) -> None:
    intel = Intel()
    quote, collateral = intel.quote(), intel.collateral()
    body = quote[: quote.index(b"-----BEGIN CERTIFICATE")]
    chance = random.Random(count)
    for _ in range(count // 20):
        changed = mutated(body, chance)
        if changed == body:
            continue
        data = changed + quote[len(body) :]
        verdict = judge(data, collateral, at=NOW, policy=Policy(), root=intel.root_der)
        assert not verdict.accepted, data.hex()
        assert verdict.reasons
