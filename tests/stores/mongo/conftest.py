"""What tests of clients that nobody lets in share."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture
def refused() -> Iterator[None]:
    """PyMongo leaves the socket of a probe that is cancelled while it connects to the collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
