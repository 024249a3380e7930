"""What a process that serves for long tells Python's garbage collector, once it has started."""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 50_000
"""Objects that are made before the collector looks for cycles among them; a request makes some
hundred, and hardly any is part of one."""


def settle() -> None:
    """Let the collector pass over what start-up made, all of which stays.

    Looking at it again and again cost a fifth of the time of a read over HTTP. Call it when
    everything is open; what is made later is collected as ever.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
