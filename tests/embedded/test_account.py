"""Which right a server's account needs, decided from modes and capabilities alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from neo_polystore.embedded import EmbeddedError, account
from neo_polystore.embedded.account import (
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_SETPCAP,
    Account,
    capability_for,
)

STRANGER = Account("stranger", uid=4242, gid=4242, groups=())
EVERYTHING = (1 << 41) - 1
DOCKER = 1 << CAP_DAC_OVERRIDE | 1 << CAP_SETPCAP


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory with a data directory and a program that only their owner can reach."""
    folder = tmp_path / "closed"
    (folder / "data").mkdir(parents=True)
    (folder / "program").touch(mode=0o700)
    folder.chmod(0o700)
    return folder


@pytest.fixture
def permitted(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(account, "_can_be_ambient", lambda: True)
    monkeypatch.setattr(account, "_permitted_capabilities", lambda: EVERYTHING)
    return monkeypatch


@pytest.mark.usefixtures("permitted")
def test_reachable_needs_nothing() -> None:
    assert capability_for(STRANGER, [Path("/usr/bin/env")]) is None


@pytest.mark.usefixtures("permitted")
def test_unreachable_directory_needs_to_search(closed: Path) -> None:
    assert capability_for(STRANGER, [closed / "data"]) == CAP_DAC_READ_SEARCH


@pytest.mark.usefixtures("permitted")
def test_forbidden_program_needs_to_override(closed: Path) -> None:
    assert capability_for(STRANGER, [closed / "data", closed / "program"]) == CAP_DAC_OVERRIDE


def test_container_has_only_the_wider_right(closed: Path, permitted: pytest.MonkeyPatch) -> None:
    permitted.setattr(account, "_permitted_capabilities", lambda: DOCKER)
    assert capability_for(STRANGER, [closed / "data"]) == CAP_DAC_OVERRIDE


def test_without_the_right_the_path_and_the_fix_are_named(
    closed: Path, permitted: pytest.MonkeyPatch
) -> None:
    permitted.setattr(account, "_permitted_capabilities", lambda: 0)
    with pytest.raises(EmbeddedError, match="NEO_EMBEDDED_USER") as caught:
        capability_for(STRANGER, [closed / "program"])
    assert str(closed) in str(caught.value)
