"""What Compose and kustomize make of the deployment files, by their own code; see `render/`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.go_program import NoProgramError, built

ROOT = Path(__file__).parents[2]


def compose(*files: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The project with every profile, variables from this environment alone."""
    model: dict[str, Any] = json.loads(
        _rendered("compose", *(str(ROOT / file) for file in files), environment=environment)
    )
    return model


@lru_cache
def manifests(folder: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    return list(yaml.safe_load_all(_rendered("kustomize", str(ROOT / folder))))


def refusal(*files: str, environment: Mapping[str, str]) -> str:
    """What Compose says against the files; fails where it has nothing against them."""
    done = _run("compose", *(str(ROOT / file) for file in files), environment=environment)
    assert done.returncode == 1, "Compose takes it"
    return done.stderr


def secrets() -> dict[str, str]:
    """A fresh `.env` of scripts/make-secrets.sh."""
    done = subprocess.run(
        ["/bin/sh", ROOT / "scripts" / "make-secrets.sh"],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def _rendered(*words: str, environment: Mapping[str, str] = {}) -> str:
    done = _run(*words, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(*words: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        program = built(Path(__file__).parent / "render", "render")
    except NoProgramError as error:
        pytest.skip(str(error))
    return subprocess.run(
        [program, *words],
        env={"PATH": os.environ.get("PATH", ""), "HOME": "/", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
