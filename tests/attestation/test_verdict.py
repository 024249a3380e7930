"""Verdicts on quotes of a platform whose keys are ours, under every circumstance."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError as PydanticError

from neo_polystore.attestation.policy import Policy
from neo_polystore.attestation.quote import parse_quote
from neo_polystore.attestation.verdict import Verdict, judge
from neo_polystore.errors import UsageError
from tests.attestation.pki import NOW, Intel

DEBUG = 0x7


@pytest.fixture(scope="module")
def intel() -> Intel:
    return Intel()


def judged(
    intel: Intel, *, policy: Policy | None = None, at: datetime = NOW, **report: Any
) -> Verdict:
    return judge(
        intel.quote(**report),
        intel.collateral(),
        at=at,
        policy=policy or Policy(),
        root=intel.root_der,
    )


def test_a_genuine_quote_of_a_good_platform_is_accepted(intel: Intel) -> None:
    verdict = judged(intel, isv_svn=3, isv_prod_id=9)
    assert (verdict.accepted, verdict.genuine, verdict.status) == (True, True, "UpToDate")
    assert verdict.reasons == ()
    assert verdict.expires == intel.issued + intel.lasts
    assert verdict.quote is not None
    assert (verdict.quote.isv_svn, verdict.quote.isv_prod_id) == (3, 9)


def test_the_same_question_has_the_same_answer(intel: Intel) -> None:
    quote, collateral = intel.quote(), intel.collateral()
    verdicts = {
        json.dumps(judge(quote, collateral, at=NOW, policy=Policy(), root=intel.root_der).as_dict())
        for _ in range(3)
    }
    assert len(verdicts) == 1


def test_nothing_but_intels_root_is_trusted_by_default(intel: Intel) -> None:
    verdict = judge(intel.quote(), intel.collateral(), at=NOW, policy=Policy())
    assert (verdict.accepted, verdict.genuine) == (False, False)
    verdict = judge(
        intel.quote(), intel.collateral(), at=NOW, policy=Policy(), root=Intel().root_der
    )
    assert (verdict.accepted, verdict.genuine) == (False, False)


@pytest.mark.parametrize("status", ["SWHardeningNeeded", "ConfigurationNeeded", "OutOfDate"])
def test_a_tcb_status_is_accepted_if_the_policy_says_so(status: Any) -> None:
    intel = Intel(status=status, advisories=("INTEL-SA-00615",))
    refused = judged(intel)
    assert (refused.genuine, refused.accepted, refused.status) == (True, False, status)
    assert status in refused.reasons[0]
    assert judged(intel, policy=Policy(statuses=frozenset({status}))).accepted
    strict = Policy(statuses=frozenset({status}), advisories=frozenset())
    assert "INTEL-SA-00615" in judged(intel, policy=strict).reasons[0]
    lenient = Policy(statuses=frozenset({status}), advisories=frozenset({"INTEL-SA-00615"}))
    assert judged(intel, policy=lenient).accepted


def test_a_revoked_platform_is_never_accepted() -> None:
    every = Policy(statuses=frozenset({"Revoked", "UpToDate"}))
    assert not judged(Intel(status="Revoked"), policy=every).accepted
    verdict = judged(Intel(revoked=True), policy=every)
    assert (verdict.accepted, verdict.genuine) == (False, False)
    assert "revoked" in verdict.reasons[0].lower()


@pytest.mark.parametrize(
    ("moment", "genuine"),
    [
        (NOW - timedelta(days=1, seconds=1), False),
        (NOW - timedelta(days=1), True),
        (NOW + timedelta(days=28), True),
        (NOW + timedelta(days=29, seconds=1), False),
        (NOW + timedelta(days=4000), False),
    ],
)
def test_collateral_counts_for_its_time_only(intel: Intel, moment: datetime, genuine: bool) -> None:
    assert judged(intel, at=moment).genuine is genuine


def test_a_policy_may_ask_for_younger_collateral(intel: Intel) -> None:
    policy = Policy(longest_collateral_age=timedelta(days=2))
    assert judged(intel, policy=policy).accepted
    late = judged(intel, policy=policy, at=NOW + timedelta(days=2))
    assert (late.genuine, late.accepted) == (True, False)
    assert "old" in late.reasons[0]


def test_a_debug_enclave_is_refused(intel: Intel) -> None:
    refused = judged(intel, attributes=DEBUG)
    assert (refused.genuine, refused.accepted) == (False, False)
    assert "debug" in refused.reasons[0].lower()


def test_lists_and_floors_are_kept(intel: Intel) -> None:
    quote = parse_quote(intel.quote(isv_svn=5, isv_prod_id=7))
    good: dict[str, Any] = {
        "mr_enclaves": frozenset({quote.mr_enclave.upper()}),
        "mr_signers": frozenset({quote.mr_signer}),
        "product_id": 7,
        "lowest_svn": 5,
        "report_data": quote.report_data[:32].hex().upper(),
    }
    assert judged(intel, policy=Policy(**good), isv_svn=5, isv_prod_id=7).accepted
    for name, value in {
        "mr_enclaves": frozenset({"00" * 32}),
        "mr_signers": frozenset({"00" * 32}),
        "product_id": 8,
        "lowest_svn": 6,
        "report_data": quote.report_data[:31].hex() + "ff",
    }.items():
        verdict = judged(intel, policy=Policy(**good | {name: value}), isv_svn=5, isv_prod_id=7)
        assert (verdict.genuine, verdict.accepted, len(verdict.reasons)) == (True, False, 1)


@pytest.mark.parametrize("text", ["", "0", "0g", "00" * 65])
def test_a_challenge_is_one_to_64_bytes(text: str) -> None:
    with pytest.raises(PydanticError, match="report_data"):
        Policy(report_data=text)


def test_every_objection_is_told(intel: Intel) -> None:
    policy = Policy(mr_enclaves=frozenset({"00" * 32}), mr_signers=frozenset({"11" * 32}))
    assert len(judged(intel, policy=policy).reasons) == 2


@pytest.mark.parametrize("count", [300, pytest.param(40_000, marks=pytest.mark.long)])
def test_one_flipped_bit_anywhere_in_a_quote_is_noticed(intel: Intel, count: int) -> None:
    quote, collateral = intel.quote(), intel.collateral()
    end = quote.index(b"-----BEGIN CERTIFICATE")  # the text may differ in what nobody reads
    bits = range(end * 8)
    for bit in random.Random(1).sample(bits, min(count, len(bits))):
        changed = bytearray(quote)
        changed[bit // 8] ^= 1 << bit % 8
        verdict = judge(bytes(changed), collateral, at=NOW, policy=Policy(), root=intel.root_der)
        # these are not signed: reserved and SVN fields that only versions before 4 fill
        assert not verdict.accepted, f"bit {bit % 8} of byte {bit // 8}"


def _changed(name: str, change: Callable[[str], str]) -> Callable[[Intel], bytes]:
    def collateral(intel: Intel) -> bytes:
        members = json.loads(intel.collateral())
        members[name] = change(members[name])
        return json.dumps(members).encode()

    return collateral


@pytest.mark.parametrize(
    "change",
    [
        _changed("tcb_info", lambda text: text.replace("UpToDate", "Up2Date")),
        _changed("tcb_info", lambda text: text + " "),
        _changed("qe_identity", lambda text: text.replace('"isvsvn": 8', '"isvsvn": 7')),
        _changed("tcb_info_signature", lambda text: "00" * 64),
        _changed("qe_identity_signature", lambda text: text[:-2] + "00"),
        _changed("pck_crl", lambda text: text[:-2] + "00"),
        _changed("root_ca_crl", lambda text: ""),
        _changed("tcb_info_issuer_chain", lambda text: ""),
        lambda intel: Intel().collateral(),
        lambda intel: b"",
        lambda intel: b"[]",
        lambda intel: b"{}",
        lambda intel: intel.collateral(extra="x"),
        lambda intel: intel.collateral(tcb_info="{}"),
        lambda intel: b"{" * 100_000,
        lambda intel: intel.collateral() + b" " * 2_000_000,
    ],
)
def test_collateral_that_was_touched_accepts_nothing(
    intel: Intel, change: Callable[[Intel], bytes]
) -> None:
    verdict = judge(intel.quote(), change(intel), at=NOW, policy=Policy(), root=intel.root_der)
    assert (verdict.accepted, verdict.genuine) == (False, False)
    assert verdict.reasons


def test_a_quote_that_is_none_is_a_verdict_with_its_digest(intel: Intel) -> None:
    verdict = judge(b"no quote", intel.collateral(), at=NOW, policy=Policy())
    assert (verdict.accepted, verdict.genuine, verdict.quote) == (False, False, None)
    assert len(verdict.digest) == 64


@pytest.mark.parametrize("at", [datetime(2026, 1, 1), datetime(1969, 1, 1, tzinfo=UTC)])  # noqa: DTZ001
def test_a_time_that_is_none_is_refused(intel: Intel, at: datetime) -> None:
    with pytest.raises(UsageError, match="zone"):
        judge(intel.quote(), intel.collateral(), at=at, policy=Policy())
