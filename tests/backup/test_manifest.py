"""Manifests are read with suspicion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from neo_polystore.backup import manifest as files
from neo_polystore.backup.keys import BackupKey
from neo_polystore.errors import BackupError, ConfigError, IntegrityError, PolystoreError
from tests.backup.conftest import KEY, Platform

Edit = Callable[[dict[str, Any]], None]


def first_part(run: dict[str, Any]) -> dict[str, Any]:
    stream = next(s for store in run["stores"] for s in store["streams"] if len(s["parts"]) > 1)
    part: dict[str, Any] = stream["parts"][0]
    return part


def swap_parts(run: dict[str, Any]) -> None:
    stream = next(s for store in run["stores"] for s in store["streams"] if len(s["parts"]) > 1)
    stream["parts"][0], stream["parts"][1] = stream["parts"][1], stream["parts"][0]


EDITS: dict[str, Edit] = {
    "a name with ..": lambda run: first_part(run).update(name="../../etc/passwd"),
    "an absolute name": lambda run: first_part(run).update(name="/etc/passwd"),
    "swapped parts": swap_parts,
    "a wrong size": lambda run: first_part(run).update(content_bytes=17),
    "a negative size": lambda run: first_part(run).update(stored_bytes=-1),
    "a digest that is none": lambda run: first_part(run).update(stored_sha256="abc"),
    "another digest than the name's": lambda run: first_part(run).update(stored_sha256="0" * 64),
    "an unknown field": lambda run: run.update(more=1),
    "a missing field": lambda run: run.pop("stores"),
    "a store with a bad name": lambda run: run["stores"][0].update(name="../x"),
    "a store twice": lambda run: run["stores"].append(run["stores"][0]),
    "a text for a number": lambda run: run.update(part_bytes="4096"),
    "an end before the beginning": lambda run: run.update(finished="2001-01-01T00:00:00Z"),
    "another run": lambda run: run.update(id="20200101T000000-00000000"),
    "no run": lambda run: run.update(id="../up"),
}


def forged(platform: Platform, edit: Edit, key: BackupKey = KEY) -> bytes:
    """An edited manifest whose digest and signature fit."""
    envelope = orjson.loads(files.dump(platform.manifest, key))
    edit(envelope["run"])
    text = orjson.dumps(envelope["run"], option=orjson.OPT_SORT_KEYS)
    envelope |= {"sha256": hashlib.sha256(text).hexdigest(), "signature": key.sign(text)}
    return orjson.dumps(envelope)


def test_what_was_dumped_is_loaded(platform: Platform) -> None:
    run = platform.manifest.id
    assert files.load(files.dump(platform.manifest, KEY), run=run, key=KEY) == platform.manifest


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_even_a_signed_manifest_must_make_sense(platform: Platform, edit: Edit) -> None:
    with pytest.raises(IntegrityError, match=platform.manifest.id):
        files.load(forged(platform, edit), run=platform.manifest.id, key=KEY)


def test_an_edit_by_hand_is_noticed(platform: Platform) -> None:
    data = files.dump(platform.manifest, KEY).replace(b'"embedded"', b'"server"')
    with pytest.raises(IntegrityError, match="changed after it was written"):
        files.load(data, run=platform.manifest.id, key=KEY)


def test_a_forged_digest_does_not_replace_the_signature(platform: Platform) -> None:
    data = forged(platform, lambda run: run.update(profile="server"), BackupKey(b"x" * 32))
    with pytest.raises(IntegrityError, match="signature"):
        files.load(data, run=platform.manifest.id, key=KEY)


def test_a_newer_format_is_refused_by_its_number(platform: Platform) -> None:
    data = files.dump(platform.manifest, KEY).replace(b'"format": 1', b'"format": 2')
    with pytest.raises(BackupError, match="format 2"):
        files.load(data, run=platform.manifest.id, key=KEY)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"format": "1"}', b'{"format": 1}'])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(PolystoreError, match="manifest of"):
        files.load(data, run="20260101T000000-00000000", key=None)


def test_an_encrypted_run_is_not_read_without_its_key(platform: Platform) -> None:
    data = files.dump(platform.manifest, KEY)
    with pytest.raises(ConfigError, match=f"{KEY.id}: NEO_BACKUP_KEY is not set"):
        files.load(data, run=platform.manifest.id, key=None)


def test_the_manifest_tells_no_secret(platform: Platform) -> None:
    text = files.dump(platform.manifest, KEY)
    assert b"password" not in text.lower()
    assert bytes(range(32)).hex().encode() not in text
