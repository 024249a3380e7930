"""Attestations: kept whole, judged again, demanded by policies; under an Intel of our own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from neo_polystore.attestation.fetching import Fetcher
from neo_polystore.attestation.policy import Policy
from neo_polystore.errors import ForbiddenError, NotFoundError, UsageError, ValidationError
from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER, uuid7
from neo_polystore.records.query import Query
from neo_polystore.records.scope import SYSTEM
from neo_polystore.records.sealing import Identity, Opener
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.attesting import Attesting
from neo_polystore.sealing.drafts import Rules
from neo_polystore.sealing.evidence import KEPT, Evidence
from neo_polystore.sealing.service import Sealing
from tests.attestation.pki import NOW, Intel
from tests.sealing.conftest import Bench, draft
from tests.sealing.making import ENCLAVE, SIGNER

DEBUG = 0x7
REPORT: dict[str, Any] = {
    "mr_enclave": bytes.fromhex(ENCLAVE),
    "mr_signer": bytes.fromhex(SIGNER),
    "isv_prod_id": 7,
    "isv_svn": 5,
}
FLOOR = Identity(policy="MRSIGNER", measurement=SIGNER, product_id=7, svn_floor=5)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def intel() -> Intel:
    return Intel()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def evidence(bench: Bench, intel: Intel, clock: Clock) -> Evidence:
    return Evidence(bench.store.attestations, root=intel.root_der, clock=clock)


@pytest.fixture
def sealing(bench: Bench, evidence: Evidence) -> Sealing:
    found = bench.another()
    found.evidence = evidence
    return found


async def test_quote_collateral_policy_and_verdict_are_kept(
    evidence: Evidence, intel: Intel
) -> None:
    quote, collateral = intel.quote(**REPORT), intel.collateral()
    policy = Policy(mr_signers=frozenset({SIGNER}))
    kept, verdict = await evidence.verify(quote, collateral, policy=policy, enclave="e1")
    assert verdict.accepted
    found = await evidence.store.get(kept)
    assert (found.quote, found.collateral.encode()) == (quote, collateral)
    assert (found.verdict, found.policy) == (verdict.as_dict(), policy.model_dump(mode="json"))
    assert (found.mr_enclave, found.mr_signer) == (ENCLAVE, SIGNER)
    assert (found.product_id, found.svn, found.enclave) == (7, 5, "e1")
    assert (found.accepted, found.expires_at) == (True, NOW + KEPT)
    assert found.id in [one.id for one in await evidence.store.list()]


@pytest.mark.parametrize("case", ["debug", "noise", "tampered", "no collateral"])
async def test_rejected_ones_are_kept_too(evidence: Evidence, intel: Intel, case: str) -> None:
    quote, collateral = intel.quote(**REPORT), intel.collateral()
    if case == "debug":
        quote = intel.quote(attributes=DEBUG)
    elif case == "noise":
        quote = b"noise"
    elif case == "tampered":
        quote = quote[:100] + bytes([quote[100] ^ 1]) + quote[101:]
    else:
        collateral = b"\xff\0{}"
    kept, verdict = await evidence.verify(quote, collateral)
    assert not verdict.accepted
    found = await evidence.store.get(kept)
    assert (found.accepted, found.quote) == (False, quote)
    assert found.verdict["reasons"] == list(verdict.reasons)


async def test_a_kept_verdict_is_proven_again_then_and_now(
    evidence: Evidence, intel: Intel, clock: Clock
) -> None:
    kept, _ = await evidence.verify(intel.quote(**REPORT), intel.collateral())
    clock.now = NOW + timedelta(days=365)
    found = await evidence.recheck(kept)
    assert found.holds
    assert found.then.accepted
    assert not found.now.genuine  # the collateral has ended


async def test_altered_evidence_is_noticed(evidence: Evidence, intel: Intel, bench: Bench) -> None:
    kept, _ = await evidence.verify(intel.quote(attributes=DEBUG), intel.collateral())
    await bench.administrator.execute(
        "UPDATE enclave.attestations SET verdict = verdict || '{\"accepted\": true}' WHERE id = $1",
        kept,
    )
    assert not (await evidence.recheck(kept)).holds


async def test_an_item_remembers_the_attestation_it_was_written_under(
    sealing: Sealing, evidence: Evidence, intel: Intel, bench: Bench
) -> None:
    kept, _ = await evidence.verify(intel.quote(**REPORT), intel.collateral())
    service = sealing.of_service("attested")
    one = draft(identity=FLOOR, attestation=kept)
    await service.seal(one)
    [head] = await service.heads(prefix=one.data_key)
    assert head.attestation == kept
    links = await bench.administrator.fetch(
        "SELECT l.attestation_id, l.status FROM sgx.enclave_attestations l"
        " JOIN sgx.sealed_data_items s ON s.id = l.sealed_item_id WHERE s.item_key = $1",
        one.data_key,
    )
    assert [tuple(link) for link in links] == [(kept, "verified")]
    with pytest.raises(NotFoundError, match="no attestation"):
        await service.seal(draft(identity=FLOOR, attestation=uuid7()))


@pytest.mark.parametrize("kind", ["user", "service"])
async def test_evidence_stays_while_an_item_names_it(
    sealing: Sealing, evidence: Evidence, intel: Intel, bench: Bench, kind: str
) -> None:
    own = sealing.of_user(SYSTEM_TENANT, SYSTEM_USER)
    if kind == "service":
        own = sealing.of_service("witness")
    kept, _ = await evidence.verify(intel.quote(**REPORT), intel.collateral())
    lone, _ = await evidence.verify(intel.quote(**REPORT), intel.collateral())
    one = draft(identity=FLOOR, attestation=kept)
    await own.seal(one)
    await bench.administrator.execute("UPDATE enclave.attestations SET expires_at = '2000-01-01'")
    await bench.store.upkeep.expired_data()
    assert (await evidence.recheck(kept)).holds
    with pytest.raises(NotFoundError):
        await evidence.store.get(lone)
    await own.delete(one.data_key)
    await bench.store.upkeep.expired_data()
    with pytest.raises(NotFoundError):
        await evidence.store.get(kept)


async def test_whoever_asks_for_attestation_is_in_the_audit_trail(
    sealing: Sealing, intel: Intel, bench: Bench
) -> None:
    attesting = sealing.attesting(actor="alice")
    before = bench.trail.counts.recorded
    kept, verdict = await attesting.verify(intel.quote(**REPORT), intel.collateral(), at=NOW)
    assert verdict.accepted
    assert (await attesting.recheck(kept)).holds
    assert (await attesting.get(kept)).id == kept
    assert kept in [one.id for one in await attesting.list()]
    refused, _ = await attesting.verify(b"noise", intel.collateral(), at=NOW)
    assert bench.trail.counts.recorded - before == 5
    query = Query(limit=10).where("resource", "attestation").where("resource_id", str(refused))
    [entry] = (await bench.trail.within(SYSTEM).find(query)).records
    body = entry.body()
    assert (body["user_id"], body["success"]) == ("alice", False)
    assert "quote" in body["error_message"]


async def test_collateral_is_fetched_only_where_that_is_configured(
    evidence: Evidence, intel: Intel, bench: Bench
) -> None:
    class Known(Fetcher):
        async def collateral(self, quote: bytes) -> bytes:
            return intel.collateral()

    trail = bench.trail.within(SYSTEM)
    with pytest.raises(UsageError, match="NEO_PCCS_URL"):
        await Attesting(evidence, trail).verify(intel.quote(), None, at=NOW)
    asking = Attesting(evidence, trail, fetcher=Known("https://pccs.example"))
    _, verdict = await asking.verify(intel.quote(), None, at=NOW)
    assert verdict.accepted


async def demanding(sealing: Sealing, **fields: Any) -> str:
    policy = SealingPolicy(
        name=f"p{uuid4().hex[:8]}",
        policy_type="MRSIGNER",
        attestation_max_age=timedelta(hours=1),
        **fields,
    )
    await sealing.put_policy(policy)
    return policy.name


async def test_a_policy_may_demand_a_fresh_accepted_attestation(
    sealing: Sealing, evidence: Evidence, intel: Intel, clock: Clock
) -> None:
    service = sealing.of_service("demanding")
    one = draft(identity=FLOOR, policy_name=await demanding(sealing))
    await service.seal(one)
    claims = Opener(mr_signer=SIGNER, product_id=7, svn=9)
    with pytest.raises(ForbiddenError, match="only for an attestation"):
        await service.open(one.data_key, claims)
    kept, _ = await evidence.verify(intel.quote(**REPORT), intel.collateral())
    opener = Opener(attestation=kept)
    assert (await service.open(one.data_key, opener)).content == one.content
    clock.now += timedelta(minutes=61)
    with pytest.raises(ForbiddenError, match="older than"):
        await service.open(one.data_key, opener)
    clock.now -= timedelta(minutes=62)
    with pytest.raises(ForbiddenError, match="older than"):
        await service.open(one.data_key, opener)


async def test_what_the_attestation_shows_counts_and_not_what_the_opener_claims(
    sealing: Sealing, evidence: Evidence, intel: Intel
) -> None:
    service = sealing.of_service("claiming")
    one = draft(identity=FLOOR, policy_name=await demanding(sealing))
    await service.seal(one)
    kept, _ = await evidence.verify(intel.quote(**{**REPORT, "isv_svn": 4}), intel.collateral())
    opener = Opener(mr_signer=SIGNER, product_id=7, svn=9, attestation=kept)
    with pytest.raises(ForbiddenError, match="SVN floor"):
        await service.open(one.data_key, opener)


async def test_a_verdict_of_a_milder_policy_opens_nothing(
    sealing: Sealing, evidence: Evidence
) -> None:
    stale = Intel(status="OutOfDate")
    mild = Evidence(evidence.store, root=stale.root_der, clock=lambda: NOW)
    sealing.evidence = mild
    kept, verdict = await mild.verify(
        stale.quote(**REPORT),
        stale.collateral(),
        policy=Policy(statuses=frozenset({"OutOfDate"})),
    )
    assert verdict.accepted
    service = sealing.of_service("strict")
    for rules, opens in (({}, False), ({"statuses": ["OutOfDate"]}, True)):
        name = await demanding(sealing, attestation_policy=rules)
        one = draft(identity=FLOOR, policy_name=name)
        await service.seal(one)
        if opens:
            await service.open(one.data_key, Opener(attestation=kept))
        else:
            with pytest.raises(ForbiddenError, match="OutOfDate"):
                await service.open(one.data_key, Opener(attestation=kept))


async def test_hardware_mode_believes_no_claims(
    bench: Bench, evidence: Evidence, intel: Intel
) -> None:
    sealing = bench.another(rules=Rules(hardware=True))
    sealing.evidence = evidence
    service = sealing.of_service("hardware")
    one = draft(identity=FLOOR)
    await service.seal(one)
    with pytest.raises(ForbiddenError, match="attestation"):
        await service.open(one.data_key, Opener(mr_signer=SIGNER, product_id=7, svn=9))
    kept, _ = await evidence.verify(intel.quote(**REPORT), intel.collateral())
    assert (await service.open(one.data_key, Opener(attestation=kept))).content == one.content


async def test_rules_that_nobody_can_judge_by_are_refused(sealing: Sealing) -> None:
    with pytest.raises(ValidationError, match="statuses"):
        await demanding(sealing, attestation_policy={"statuses": ["Fine"]})


def test_the_clock_of_evidence_is_the_worlds_by_default(bench: Bench) -> None:
    now = Evidence(bench.store.attestations)._clock()
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)
