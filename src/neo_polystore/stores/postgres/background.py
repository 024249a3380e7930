"""The database as the role of background work sees it: relay, scheduler, operators."""

from __future__ import annotations

from neo_polystore.activity import Recorder
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.on_demand import OnDemand


class Background(OnDemand):
    """As the relay's role."""

    def __init__(self, config: PgConfig, *, store: str, recorder: Recorder | None = None):
        super().__init__(config, PgConfig.as_relay, store=store, recorder=recorder)
