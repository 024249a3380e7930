"""Health of sealing: what it sees, and that asking changes nothing."""

from __future__ import annotations

from neo_polystore.errors import ConfigError
from neo_polystore.keys.local import LocalWrapper
from neo_polystore.ports.keys import KeyWrapper
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.drafts import Rules
from neo_polystore.sealing.health import check_sealing
from neo_polystore.sealing.ring import KeyRing
from tests.sealing.conftest import Bench, draft
from tests.sealing.making import MRSIGNER


async def test_before_the_first_item_there_is_no_key_and_asking_makes_none(bench: Bench) -> None:
    for _ in range(2):
        found = await check_sealing(bench.sealing)
        assert (found.status, found.key_present, found.key_usable) == ("healthy", False, True)
        assert "first makes the key" in found.detail
    assert not await bench.sealing.ring.store.all()


async def test_a_key_that_can_be_used_is_healthy(bench: Bench) -> None:
    await bench.sealing.of_service("health").seal(draft())
    found = await check_sealing(bench.another(rules=Rules(hardware=True)))
    assert (found.status, found.mode, found.key_present) == ("healthy", "hardware", True)
    assert (found.wrapped_by, found.detail) == ("local", "")


async def test_a_wrapping_key_that_is_missing_or_another_is_unhealthy(bench: Bench) -> None:
    def missing() -> KeyWrapper:
        raise ConfigError("set SGX_ENCRYPTION_KEY")

    for wrapper in (missing, lambda: LocalWrapper(b"x" * 32)):
        sealing = bench.another()
        sealing.ring = KeyRing(bench.store.sealing_keys, wrapper)
        found = await check_sealing(sealing)
        assert (found.status, found.storage, found.key_usable) == ("unhealthy", True, False)
        assert "SGX_ENCRYPTION_KEY" in found.detail


async def test_items_below_the_floor_of_their_policy_are_counted(bench: Bench) -> None:
    policy = SealingPolicy(name="floor", policy_type="MRSIGNER", svn_floor=3)
    await bench.sealing.put_policy(policy)
    own = bench.sealing.of_service("floor")
    await own.seal_all([draft(identity=MRSIGNER, policy_name="floor") for _ in range(3)])
    assert (await check_sealing(bench.sealing)).below_svn_floor == 0
    await bench.sealing.put_policy(policy.model_copy(update={"svn_floor": 4}))
    found = await check_sealing(bench.sealing)
    assert (found.status, found.below_svn_floor) == ("degraded", 3)
    assert "seal them again" in found.detail
