"""Who may import whom: the layers of the package, checked on its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "neo_polystore"

LEAVES = {"errors", "ids", "assets", "records"}
ALLOWED = {
    "errors": set(),
    "ids": set(),
    "assets": {"errors"},
    "records": {"errors", "ids", "assets"},
    "ports": LEAVES | {"activity"},
    "pgkit": LEAVES | {"ports", "activity"},
    "objectkit": LEAVES | {"ports"},
    "stores": LEAVES | {"ports", "pgkit", "objectkit", "coalesce", "activity"},
    "tracing": {"errors", "activity", "__version__"},
    "wrappers": LEAVES | {"ports", "coalesce"},
    "activity": {"coalesce", "errors"},
    "coalesce": {"errors", "room"},
    "room": {"errors"},
    "embedded": set(),
    "samples": LEAVES,
    "protocols": LEAVES,
    "loaders": LEAVES | {"protocols"},
    "settings": LEAVES,
    "registry": {"errors", "ports"},
    "routing": LEAVES,
    "audit": LEAVES | {"ports", "coalesce"},
    "auth": LEAVES | {"ports", "settings"},
    "outward": {"errors"},
    "attestation": {"errors", "outward"},
    "keys": LEAVES | {"ports", "outward"},
    "sealing": LEAVES | {"ports", "audit", "attestation"},
    "polystore": LEAVES | {"ports", "routing", "audit", "sealing"},
}
"""What each part may import of ours, beside itself; parts that are not listed stand on top."""


def imports(path: Path) -> Iterator[str]:
    """The dotted names under `neo_polystore` that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        yield from (
            n.removeprefix("neo_polystore.") for n in names if n.startswith("neo_polystore.")
        )


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_a_part_imports_only_what_its_layer_may(part: str) -> None:
    folder = PACKAGE / part
    paths = folder.rglob("*.py") if folder.is_dir() else [PACKAGE / f"{part}.py"]
    wrong = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in paths
        for name in imports(path)
        if name.partition(".")[0] not in ALLOWED[part] | {part}
    }
    assert not wrong


def test_an_engine_never_imports_another_engine() -> None:
    wrong = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in (PACKAGE / "stores").glob("*/**/*.py")
        for name in imports(path)
        if name.startswith("stores.") and name.split(".")[1] != path.relative_to(PACKAGE).parts[1]
    }
    assert not wrong


def test_only_the_composition_root_knows_embedded_servers_and_wrappers() -> None:
    roots = {"build.py", "addresses.py", "cached_query.py", "clusters.py"}
    wrong = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in PACKAGE.rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] in ("embedded", "wrappers")
        and path.relative_to(PACKAGE).parts[0] not in roots | {"embedded", "wrappers"}
    }
    assert not wrong
