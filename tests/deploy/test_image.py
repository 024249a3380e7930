"""The Dockerfile: what it copies is there, and all that the package needs is copied."""

from __future__ import annotations

import re
import tomllib

from tests.deploy.renderer import ROOT

TEXT = (ROOT / "Dockerfile").read_text()
COPIED = {
    word
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.MULTILINE)
    for word in line.split()
}


def test_the_base_is_pinned_to_a_patch_version() -> None:
    bases = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)


def test_everything_that_is_copied_is_there() -> None:
    assert COPIED
    assert not [name for name in COPIED if not (ROOT / name).exists()]


def test_every_asset_of_the_wheel_is_copied() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert set(build["targets"]["wheel"]["force-include"]) <= COPIED


def test_the_context_is_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == COPIED


def test_it_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)", TEXT, re.MULTILINE)
    assert users == ["10001:10001"]


def test_its_extras_are_those_of_the_server_profile() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = re.search(r"'\.\[([\w,]+)\]'", TEXT)
    assert found is not None
    assert set(found[1].split(",")) == set(extras["optional-dependencies"]) - {
        "all",
        "dev",
        "embedded",
    }
