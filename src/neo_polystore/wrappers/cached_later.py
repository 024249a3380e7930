"""Changes that the cache could not be told of, through the outbox to whoever can tell it."""

from __future__ import annotations

from typing import Final

from neo_polystore.ports.cache import INVALIDATION_TOPIC
from neo_polystore.ports.outbox import Draft, Outbox
from neo_polystore.wrappers.cached_guard import Later

_PART: Final = 500


def publishing(outbox: Outbox) -> Later:
    """Publishes what is about to change, durably, before the change is made.

    The relay announces it to the cache as soon as it reaches that; then the keys stay empty for
    as long as a change may take, so that it does not matter whether it was committed before.
    """

    async def later(keys: list[str]) -> None:
        await outbox.publish(
            [
                Draft(INVALIDATION_TOPIC, part[0], {"keys": part})
                for part in (keys[at : at + _PART] for at in range(0, len(keys), _PART))
            ]
        )

    return later
