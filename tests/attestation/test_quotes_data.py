"""Real quotes of Intel's platforms, with what is known of them.

The folder of public data that NEO_TEST_DATA names has them, with their source and licence; it is
no part of this project. Without it these tests are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from neo_polystore.attestation.policy import Policy
from neo_polystore.attestation.quote import Quote, parse_quote
from neo_polystore.attestation.verdict import Verdict, judge
from neo_polystore.errors import ValidationError

FOLDER = "NEO_TEST_DATA"

AUTOMATA, PHALA = "automata_quotev3.hex", "phala_sgx_quote.bin"
AZURE, DEBUG = (f"azure-intel-sdk/enclave.info.{kind}.json" for kind in ("release", "debug"))
MOBILECOIN = "mobilecoin/hw_quote.dat"

FACTS = {
    AUTOMATA: (4734, "a4f45c39", "8f2dbc0f", 0, 0, False),
    DEBUG: (4600, "3e2df98f", "feb995eb", 1, 1, True),
    AZURE: (4600, "d37d983a", "feb995eb", 1, 1, False),
    MOBILECOIN: (4603, "1dd0df84", "d412a4f0", 0, 0, True),
    PHALA: (4600, "33d8736d", "815f42f1", 0, 0, False),
}
"""Bytes, how MRENCLAVE and MRSIGNER begin, product, SVN, whether it is a debug enclave."""

IN_TIME = datetime(2025, 6, 20, 10, 56, 11, tzinfo=UTC)
STATUS = "ConfigurationAndSWHardeningNeeded"
ADVISORIES = ("INTEL-SA-00289", "INTEL-SA-00615")
LENIENT = Policy(statuses=frozenset({"ConfigurationAndSWHardeningNeeded"}))


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the data is."""
    if FOLDER not in os.environ:
        pytest.skip(f"no public data: {FOLDER} names no folder")
    return Path(os.environ[FOLDER]) / "quotes"


def quote_of(folder: Path, name: str) -> bytes:
    """The bytes of a quote, which stands there as bytes, in hexadecimal, or in a JSON file."""
    path = folder / name
    if path.suffix == ".json":
        return bytes.fromhex(json.loads(path.read_text())["QuoteHex"])
    return bytes.fromhex(path.read_text()) if path.suffix == ".hex" else path.read_bytes()


def judged(folder: Path, name: str, at: datetime = IN_TIME, policy: Policy = LENIENT) -> Verdict:
    """The verdict by the one collateral that there is."""
    collateral = (folder / "phala_sgx_quote_collateral.json").read_bytes()
    return judge(quote_of(folder, name), collateral, at=at, policy=policy)


@pytest.mark.parametrize("name", FACTS)
def test_every_field_that_is_known_is_read(folder: Path, name: str) -> None:
    data = quote_of(folder, name)
    quote = parse_quote(data)
    found = (
        len(data),
        quote.mr_enclave[:8],
        quote.mr_signer[:8],
        quote.isv_prod_id,
        quote.isv_svn,
        quote.is_debug,
    )
    assert (quote.version, quote.tee, found) == (3, "SGX", FACTS[name])


@pytest.mark.parametrize("name", [AZURE, DEBUG])
def test_what_is_read_is_what_the_maker_states(folder: Path, name: str) -> None:
    stated: dict[str, Any] = json.loads((folder / name).read_text())
    quote: Quote = parse_quote(quote_of(folder, name))
    assert quote.mr_enclave == stated["MrEnclaveHex"].lower()
    assert quote.mr_signer == stated["MrSignerHex"].lower()
    product = int.from_bytes(bytes.fromhex(stated["ProductIdHex"]), "little")
    assert (quote.isv_prod_id, quote.isv_svn) == (product, stated["SecurityVersion"])
    held = hashlib.sha256(bytes.fromhex(stated["EnclaveHeldDataHex"])).digest()
    assert quote.report_data.startswith(held)


@pytest.mark.parametrize("at", [IN_TIME, datetime.fromtimestamp(1752900000, UTC)])
def test_a_quote_is_accepted_while_its_collateral_holds(folder: Path, at: datetime) -> None:
    verdict = judged(folder, PHALA, at)
    assert (verdict.accepted, verdict.genuine) == (True, True)
    assert (verdict.status, verdict.advisories) == (STATUS, ADVISORIES)


@pytest.mark.parametrize(
    "seconds, why",
    [
        (1753005678, "TCBInfo expired"),
        (1745146571, "TCBInfo issue date is in the future"),
        (1811808000, "CrlExpired"),
    ],
)
def test_collateral_holds_at_no_other_time(folder: Path, seconds: int, why: str) -> None:
    verdict = judged(folder, PHALA, datetime.fromtimestamp(seconds, UTC))
    assert (verdict.accepted, verdict.genuine) == (False, False)
    assert why in verdict.reasons[0]


@pytest.mark.parametrize(
    "name, why",
    [
        (AUTOMATA, "UnknownRevocationStatus"),
        (MOBILECOIN, "Fmspc mismatch"),
        (AZURE, "Fmspc mismatch"),
    ],
)
def test_collateral_of_another_platform_proves_nothing(folder: Path, name: str, why: str) -> None:
    verdict = judged(folder, name)
    assert (verdict.accepted, verdict.genuine) == (False, False)
    assert why in verdict.reasons[0]


def test_the_policy_judges_what_intel_says(folder: Path) -> None:
    for policy, why in (
        (Policy(), STATUS),
        (LENIENT.model_copy(update={"advisories": frozenset(ADVISORIES[:1])}), ADVISORIES[1]),
        (LENIENT.model_copy(update={"mr_enclaves": frozenset({"00" * 32})}), "MRENCLAVE"),
        (LENIENT.model_copy(update={"report_data": b"Hello, you".hex()}), "REPORTDATA"),
    ):
        verdict = judged(folder, PHALA, policy=policy)
        assert (verdict.genuine, verdict.accepted) == (True, False)
        assert why in verdict.reasons[0]
    answers = LENIENT.model_copy(update={"report_data": b"Hello, world!".hex()})
    assert judged(folder, PHALA, policy=answers).accepted


@pytest.mark.parametrize("name", FACTS)
def test_a_real_quote_that_is_cut_off_or_has_bytes_behind_it_is_refused(
    folder: Path, name: str
) -> None:
    data = quote_of(folder, name)
    for wrong in (b"", data[:47], data[:435], data[:-1], data + b"\0"):
        with pytest.raises(ValidationError):
            parse_quote(wrong)


def test_one_flipped_bit_anywhere_in_a_real_quote_is_noticed(folder: Path) -> None:
    data = quote_of(folder, PHALA)
    collateral = (folder / "phala_sgx_quote_collateral.json").read_bytes()
    end = data.index(b"-----BEGIN CERTIFICATE")  # the text may differ in what nobody reads
    for bit in random.Random(7).sample(range(end * 8), 300):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        assert not judge(bytes(altered), collateral, at=IN_TIME, policy=LENIENT).genuine
