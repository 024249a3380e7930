"""The docs' table of faults is that of the tests, and each of its lines has one."""

from __future__ import annotations

from pathlib import Path

from tests.pitr.faults import FAULTS, table

HERE = Path(__file__).parent
DOCS = HERE.parent.parent / "docs" / "recovery.md"


def test_the_docs_hold_the_table_of_faults() -> None:
    assert table() in DOCS.read_text(), "run `python -m tests.pitr.faults` and paste its table"


def test_every_fault_has_its_test() -> None:
    for _, _, name in FAULTS:
        module, _, test = name.partition("::")
        assert f"def {test}(" in (HERE / f"{module}.py").read_text(), name
