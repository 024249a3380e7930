"""`sealed` and `attest` as a user has them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import stat
import tarfile
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from neo_polystore.embedded import Membership
from tests.attestation.pki import NOW, Intel
from tests.cli.conftest import Answer, Cli


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(b"\0TOP-SECRET")
    return path


def test_a_file_is_sealed_opened_and_deleted(here: Cli, secret: Path, tmp_path: Path) -> None:
    key, label = uuid4().hex, ("--label", "mine")
    made = here("sealed", "seal", key, str(secret), *label, "--json")
    assert (made.code, made.json["version"]) == (0, 1)
    target = tmp_path / "opened"
    assert here("sealed", "open", key, str(target), *label).code == 0
    assert target.read_bytes() == secret.read_bytes()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["opened", "secret"]
    refused = here("sealed", "open", key, "--label", "other")
    assert (refused.code, "another label" in refused.err) == (1, True)
    [listed] = here("sealed", "list", "--prefix", key, "--json").json
    assert (listed["data_key"], listed["size"]) == (key, 11)
    assert here("sealed", "delete", key, "--dry-run", "--json").json["found"]
    assert here("sealed", "delete", key).code == 0
    assert here("sealed", "open", key, *label).code == 1


def test_a_service_has_items_of_its_own(here: Cli, secret: Path) -> None:
    key = uuid4().hex
    words = ("--policy", "MRENCLAVE", "--measurement", "ab" * 32)
    assert here("sealed", "seal", key, str(secret), "--service", "pay", *words).code == 0
    opener = ("--mrenclave", "ab" * 32)
    opened = here("sealed", "open", key, "--service", "pay", *opener)
    assert (opened.code, opened.out) == (0, secret.read_text())
    assert here("sealed", "open", key, *opener).code == 1
    assert here("sealed", "open", key, "--service", "other", *opener).code == 1


def test_an_item_is_sealed_again_for_the_next_release(here: Cli, secret: Path) -> None:
    key, signer = uuid4().hex, ("--product", "7")
    sealed = ("--policy", "MRSIGNER", "--measurement", "cd" * 32, *signer, "--svn-floor", "2")
    assert here("sealed", "seal", key, str(secret), *sealed).code == 0
    opener = ("--mrsigner", "cd" * 32, *signer, "--svn")
    low = here("sealed", "reseal", key, *opener, "1", "--to-svn-floor", "3")
    assert (low.code, "SVN floor is 2" in low.err) == (1, True)
    done = here("sealed", "reseal", key, *opener, "3", "--to-svn-floor", "3", "--json")
    assert (done.code, done.json["version"], done.json["svn_floor"]) == (0, 2, 3)
    assert here("sealed", "open", key, *opener, "2").code == 1
    assert here("sealed", "open", key, *opener, "3").out == secret.read_text()


async def test_master_keys_are_wrapped_anew_by_another_key(
    here: Cli, secret: Path, tmp_path: Path
) -> None:
    data, old, new = tmp_path / "data", tmp_path / "old", os.urandom(32).hex()
    old.write_text(os.urandom(32).hex())
    old.chmod(0o600)

    def ask(*words: str, key: str) -> Answer:
        return here("sealed", *words, data=data, SGX_ENCRYPTION_KEY=key)

    def walk() -> None:
        label, before = ("--label", "l"), old.read_text()
        assert ask("seal", "k", str(secret), *label, key=before).code == 0
        refused = ask("open", "k", *label, key=new)
        assert (refused.code, "another key" in refused.err) == (2, True)
        done = ask("rewrap", "--key-file", str(old), key=new)
        assert (done.code, done.out) == (0, "wrapped 1 master key anew\n")
        assert ask("open", "k", *label, key=new).out == secret.read_text()
        assert ask("open", "k", *label, key=before).code == 2
        again = ask("rewrap", "--key-file", str(old), key=new)
        assert (again.code, again.out) == (0, "wrapped 0 master keys anew\n")
        assert ask("rewrap", key=new).code == 2
        assert ask("rewrap", "--wrapper", "paper", key=new).code == 2

    membership = await Membership.join(data)  # its servers go on between the commands
    try:
        await asyncio.to_thread(walk)
    finally:
        await membership.leave()


def test_wrong_usage_is_named(here: Cli, secret: Path) -> None:
    answer = here("sealed", "seal", "k", str(secret), "--policy", "MRSIGNER")
    assert (answer.code, "takes a measurement" in answer.err) == (1, True)
    assert here("sealed", "seal", "k", "/nowhere", "--label", "l").code == 2


def test_inventory_rotation_and_policies_answer_in_json(
    here: Cli, secret: Path, tmp_path: Path
) -> None:
    here("sealed", "seal", uuid4().hex, str(secret), "--label", "l")
    before = here("sealed", "inventory", "--json").json
    would = here("sealed", "rotate", "--dry-run", "--json").json
    assert would["items"] == sum(one["items"] for one in before) > 0
    done = here("sealed", "rotate", "--json").json
    assert (done["resealed"], done["failed"]) == (would["items"], {})
    after = here("sealed", "inventory", "--json").json
    assert {one["key_id"] for one in after} == {done["active"]}
    policy = {"name": f"p{uuid4().hex[:6]}", "policy_type": "MRSIGNER", "svn_floor": 2}
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy))
    assert here("sealed", "policy", str(file)).code == 0
    assert policy["name"] in [one["name"] for one in here("sealed", "policies", "--json").json]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sealed files as an enclave left them."""
    root = tmp_path / uuid4().hex
    names = [f"{root.name}-{n}/blob" for n in range(4)]
    sums = []
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(300))
        sums.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}")
    (root / f"{names[0]}.mac").write_text("cd" * 32)
    (root / "SHA256SUMS").write_text("\n".join(sums))
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_taken_over_byte_for_byte_and_once(
    here: Cli, folder: Path, tmp_path: Path, packed: bool
) -> None:
    source = folder
    if packed:
        source = tmp_path / "sealed.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(folder, arcname=".")
    words = ("sealed", "import", str(source), "--enclave", "e1", "--json")
    assert here(*words, "--dry-run").json["new"] == 0
    first, second = here(*words).json, here(*words).json
    assert (first["files"], first["new"], first["rejected"]) == (4, 4, {})
    assert (second["new"], second["existing"]) == (0, 4)
    found = here("query", "sealed", "--json", "--limit", "500").json
    blobs = {one["data_key"]: one for one in found["records"]}
    for path in folder.rglob("blob"):
        one = blobs[path.relative_to(folder).as_posix()]
        assert base64.b64decode(one["blob"]) == path.read_bytes()
    assert blobs[f"{folder.name}-0/blob"]["mac"] == "cd" * 32


def test_a_services_files_are_taken_over_listed_given_back_and_deleted(
    here: Cli, folder: Path, tmp_path: Path
) -> None:
    of_pay = ("--service", "pay")
    words = ("sealed", "import", str(folder), "--enclave", "e1", *of_pay, "--json")
    first, second = here(*words).json, here(*words).json
    assert (first["new"], second["new"], second["existing"]) == (4, 0, 4)
    key, target = f"{folder.name}-1/blob", tmp_path / "given-back"
    listed = here("sealed", "blobs", "list", *of_pay, "--prefix", folder.name, "--json").json
    content = (folder / key).read_bytes()
    assert [one["size"] for one in listed] == [300] * 4
    assert listed[1]["sha256"] == hashlib.sha256(content).hexdigest()
    assert here("sealed", "blobs", "get", key, str(target), *of_pay).code == 0
    assert target.read_bytes() == content
    assert "exists already" in here("sealed", "blobs", "get", key, str(target), *of_pay).err
    assert here("sealed", "blobs", "get", key, "--service", "other").code == 1
    would = here("sealed", "blobs", "delete", key, *of_pay, "--dry-run", "--json").json
    assert (would["found"], would["dry_run"]) == (True, True)
    assert here("sealed", "blobs", "delete", key, *of_pay).code == 0
    assert here("sealed", "blobs", "delete", key, *of_pay).code == 1
    two = here(*words, "--user", str(UUID(int=0)))
    assert (two.code, "name one" in two.err) == (2, True)


def test_files_that_are_not_what_they_should_be_are_rejected(here: Cli, folder: Path) -> None:
    altered = f"{folder.name}-1/blob"
    (folder / altered).write_bytes(b"altered")
    (folder / f"{folder.name}-2/blob").unlink()
    (folder / "stranger").write_bytes(b"x")
    (folder / "link").symlink_to("/etc/passwd")
    answer = here("sealed", "import", str(folder), "--enclave", "e1", "--json")
    assert answer.code == 1
    assert answer.json["new"] == 2
    assert set(answer.json["rejected"]) == {
        altered,
        f"{folder.name}-2/blob",
        "stranger",
        "link",
    }


def test_a_source_that_is_no_archive_is_named(here: Cli, secret: Path) -> None:
    answer = here("sealed", "import", str(secret), "--enclave", "e")
    assert (answer.code, "no tar archive" in answer.err) == (2, True)


def test_a_quote_is_verified_shown_and_judged_again(here: Cli, tmp_path: Path) -> None:
    intel = Intel()  # whom nobody trusts here
    quote, collateral, policy = tmp_path / "q", tmp_path / "c", tmp_path / "p"
    quote.write_text(intel.quote().hex())
    collateral.write_bytes(intel.collateral())
    policy.write_text('{"lowest_svn": 1}')
    words = ("--collateral", str(collateral), "--at", NOW.isoformat(), "--policy", str(policy))
    found = here("attest", "verify", str(quote), *words, "--json")
    assert (found.code, found.json["accepted"]) == (1, False)
    shown = here("attest", "show", found.json["id"], "--json")
    assert (shown.code, shown.json["policy"]["lowest_svn"]) == (0, 1)
    [newest] = here("attest", "list", "--limit", "1", "--json").json
    assert (newest["id"], newest["accepted"]) == (found.json["id"], False)
    assert newest["mr_enclave"] == found.json["quote"]["report"]["mr_enclave"]
    again = here("attest", "recheck", found.json["id"], "--json")
    assert (again.code, again.json["holds"]) == (0, True)
    assert here("attest", "verify", str(quote), "--collateral", "/nowhere").code == 2
    assert here("attest", "verify", str(quote), *words[:2], "--at", "noon").code == 2
    policy.write_text('{"statuses": ["Fine"]}')
    bad = here("attest", "verify", str(quote), *words)
    assert (bad.code, "statuses" in bad.err) == (1, True)
