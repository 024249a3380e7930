"""Quotes of every version: what is read, against another reader, and what is refused."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import dcap_qvl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_polystore.attestation.quote import MOST, parse_quote
from neo_polystore.errors import ValidationError
from tests.attestation.making import SHAPES, make_quote

EVERY = pytest.mark.parametrize("shape", SHAPES)
SGX = pytest.mark.parametrize("shape", [shape for shape in SHAPES if "SGX" in shape])
TDX = pytest.mark.parametrize("shape", [shape for shape in SHAPES if "TDX" in shape])


@EVERY
def test_another_reader_finds_the_same_report(shape: str) -> None:
    data = make_quote(shape, seed=7)
    quote, other = parse_quote(data), dcap_qvl.parse_quote(data)
    assert (quote.tee == "SGX", quote.tee == "TDX") == (other.is_sgx(), other.is_tdx())
    report = other.report
    base = getattr(report, "base", report)
    assert bytes(base.report_data) == quote.report_data
    if quote.tee == "SGX":
        assert bytes(report.mr_enclave).hex() == quote.mr_enclave
        assert bytes(report.mr_signer).hex() == quote.mr_signer
        assert bytes(report.attributes)[0] & 2 == 2 * quote.is_debug
    else:
        assert bytes(base.mr_td).hex() == quote.mr_enclave
        assert bytes(base.mr_owner).hex() == quote.mr_signer


@SGX
@pytest.mark.parametrize(("attributes", "debug"), [(0x5, False), (0x7, True)])
def test_a_debug_enclave_is_told(shape: str, attributes: int, debug: bool) -> None:
    assert parse_quote(make_quote(shape, attributes=attributes)).is_debug is debug


@TDX
@pytest.mark.parametrize(("attributes", "debug"), [(0x10000000, False), (0x10000001, True)])
def test_a_debug_domain_is_told(shape: str, attributes: int, debug: bool) -> None:
    assert parse_quote(make_quote(shape, td_attributes=attributes)).is_debug is debug


@EVERY
def test_a_quote_cut_anywhere_is_refused(shape: str) -> None:
    data = make_quote(shape)
    for length in range(len(data)):
        with pytest.raises(ValidationError):
            parse_quote(data[:length])


@EVERY
@pytest.mark.parametrize("more", [b"\0", b"x" * 100])
def test_trailing_bytes_are_refused(shape: str, more: bytes) -> None:
    with pytest.raises(ValidationError, match=f"{len(more)} bytes follow its end"):
        parse_quote(make_quote(shape) + more)


@SGX
@pytest.mark.parametrize("name", ["reserved1", "reserved2", "reserved3", "reserved4"])
def test_reserved_bytes_that_are_not_zero_are_refused(shape: str, name: str) -> None:
    dirty: dict[str, Any] = {name: 1}
    with pytest.raises(ValidationError, match=name):
        parse_quote(make_quote(shape, **dirty))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, 2, "version 2"),
        (0, 6, "version 6"),
        (2, 3, "key type 3"),
        (4, 0x82, "TEE type 0x82"),
    ],
)
def test_an_unknown_header_is_refused(offset: int, value: int, reason: str) -> None:
    data = bytearray(make_quote("v4 SGX"))
    data[offset] = value
    with pytest.raises(ValidationError, match=reason):
        parse_quote(bytes(data))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (48, 4, "body type 4"),
        (48, 2, "belongs to TDX, the header says SGX"),
        (50, 0, "body size 256"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(offset: int, value: int, reason: str) -> None:
    data = bytearray(make_quote("v5 SGX"))
    data[offset] = value
    with pytest.raises(ValidationError, match=reason):
        parse_quote(bytes(data))


@EVERY
def test_certification_data_of_another_kind_brings_no_certificates(shape: str) -> None:
    quote = parse_quote(make_quote(shape, certification=3, certificates=b"\xff" * 20))
    assert (quote.certification_type, quote.certificates) == (3, None)


@pytest.mark.parametrize("kind", [0, 6, 8])
def test_unknown_certification_data_is_refused(kind: int) -> None:
    with pytest.raises(ValidationError, match=f"type {kind}"):
        parse_quote(make_quote("v3 SGX", certification=kind))


def test_certificates_may_end_with_a_nul_and_are_text() -> None:
    assert parse_quote(make_quote("v3 SGX", certificates=b"PEM\0")).certificates == "PEM"
    with pytest.raises(ValidationError, match="no PEM text"):
        parse_quote(make_quote("v3 SGX", certificates=b"\xff"))


def test_a_quote_that_is_far_too_large_is_not_read() -> None:
    with pytest.raises(ValidationError, match="at most"):
        parse_quote(bytes(MOST + 1))


@given(st.binary(max_size=3000))
def test_no_bytes_make_the_reader_fail_otherwise_than_by_refusing(data: bytes) -> None:
    with suppress(ValidationError):
        parse_quote(data)


@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 2**32), st.integers(1, 20))
def test_no_changed_quote_makes_it_fail_otherwise_either(
    shape: str, seed: int, changes: int
) -> None:
    chance = random.Random(seed)
    data = bytearray(make_quote(shape))
    for _ in range(changes):
        data[chance.randrange(len(data))] = chance.randrange(256)
    with suppress(ValidationError):
        parse_quote(bytes(data))
