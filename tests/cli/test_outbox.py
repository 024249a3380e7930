"""The outbox and the scheduler from the command line."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from neo_polystore.ops.background import operational
from neo_polystore.ops.relay import Relay
from neo_polystore.polystore import Polystore
from neo_polystore.ports.outbox import Draft
from tests.cli.conftest import Cli
from tests.ops.sinks import Collecting


@pytest.fixture
async def dead(polystore: Polystore) -> str:
    """A topic with one delivered message, one waiting and two dead letters."""
    store = operational(polystore)
    topic = f"cli-{uuid4().hex[:8]}"
    sink = Collecting()
    sink.poison = {"bad [b]", "worse"}
    drafts = [Draft(topic, "k", payload) for payload in ("good", "bad [b]", "worse")]
    await store.outbox.publish(drafts)
    await Relay(store.feed, {topic: sink}.get, holder="test").drain()
    await store.outbox.publish([Draft(topic, "k", "waiting")])
    return topic


def letters(cli: Cli, topic: str, *options: str) -> list[Any]:
    found: list[Any] = cli("outbox", "dead-letters", "--topic", topic, "--json", *options).json
    return found


def test_status_shows_what_waits_and_what_is_dead(cli: Cli, dead: str) -> None:
    [found] = [t for t in cli("outbox", "status", "--json").json["topics"] if t["topic"] == dead]
    assert (found["depth"], found["delivered"], found["dead"]) == (1, 1, 2)
    assert dead in cli("outbox", "status").out


def test_dead_letters_are_listed_with_their_reason(cli: Cli, dead: str) -> None:
    found = letters(cli, dead)
    assert [letter["message"]["payload"] for letter in found] == ["bad [b]", "worse"]
    assert {letter["reason"] for letter in found} == {"poisonous"}
    assert "poisonous" in cli("outbox", "dead-letters", "--topic", dead).out


def test_a_dry_run_replays_nothing_and_a_replay_replays_once(cli: Cli, dead: str) -> None:
    number = str(letters(cli, dead)[0]["id"])
    dry = cli("outbox", "replay", number, "--dry-run", "--json")
    assert [letter["id"] for letter in dry.json] == [int(number)]
    assert len(letters(cli, dead)) == 2
    assert cli("outbox", "replay", number, "--json").json == {"replayed": 1}
    assert len(letters(cli, dead)) == 1
    assert letters(cli, dead, "--replayed")[0]["replayed_as"]
    again = cli("outbox", "replay", number)
    assert (again.code, number in again.err) == (1, True)


@pytest.mark.parametrize("words", [(), ("1", "--all")])
def test_replay_wants_ids_or_all(cli: Cli, words: tuple[str, ...]) -> None:
    answer = cli("outbox", "replay", *words)
    assert (answer.code, "--all" in answer.err) == (2, True)


def test_a_job_is_run_and_its_run_is_shown(cli: Cli) -> None:
    assert cli("scheduler", "run", "outbox-partitions", "--json").json["outcome"] == "done"
    jobs = {job["name"]: job for job in cli("scheduler", "status", "--json").json}
    assert jobs["outbox-partitions"]["last_outcome"] == "done"
    assert jobs["transaction-partitions"]["cron"] == "15 0 * * *"
    assert "outbox-partitions" in cli("scheduler", "status").out


def test_an_unknown_job_is_wrong_usage(cli: Cli) -> None:
    answer = cli("scheduler", "run", "nonsense")
    assert (answer.code, "outbox-partitions" in answer.err) == (2, True)
