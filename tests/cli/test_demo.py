"""The demo proves every data type, on a fresh platform and again."""

from __future__ import annotations

from neo_polystore.routing import load_routing
from tests.cli.conftest import Cli


def test_every_data_type_is_written_read_back_and_never_doubled(cli: Cli) -> None:
    for _ in range(2):
        answer = cli("demo", "--json")
        assert (answer.code, answer.json["ok"]) == (0, True), answer.out + answer.err
        proven = {line["data_type"]: line for line in answer.json["types"]}
        assert set(proven) == set(load_routing("embedded").routes)
        for line in proven.values():
            assert line["written"] == line["read_back"] == line["existing"] == line["native"] > 0
