"""Logs: lines in, words out."""

from __future__ import annotations

from typing import Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.logs import LogEntry


class Logs(Records[LogEntry], Protocol):
    """Log lines by id; immutable. `Query.text` finds lines that contain all of its words.

    A word is a run of letters and digits; case does not matter.
    """
