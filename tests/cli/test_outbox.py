"""The outbox and the scheduler from the command line."""

from __future__ import annotations

from datetime import UTC, datetime
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


def letters(here: Cli, topic: str, *options: str) -> list[Any]:
    found: list[Any] = here("outbox", "dead-letters", "--topic", topic, "--json", *options).json
    return found


def test_status_shows_what_waits_and_what_is_dead(here: Cli, dead: str) -> None:
    [found] = [t for t in here("outbox", "status", "--json").json["topics"] if t["topic"] == dead]
    assert (found["depth"], found["delivered"], found["dead"]) == (1, 1, 2)
    assert dead in here("outbox", "status").out


def test_dead_letters_are_listed_with_their_reason(here: Cli, dead: str) -> None:
    found = letters(here, dead)
    assert [letter["message"]["payload"] for letter in found] == ["bad [b]", "worse"]
    assert {letter["reason"] for letter in found} == {"poisonous"}
    assert "poisonous" in here("outbox", "dead-letters", "--topic", dead).out


def test_a_dry_run_replays_nothing_and_a_replay_replays_once(here: Cli, dead: str) -> None:
    number = str(letters(here, dead)[0]["id"])
    dry = here("outbox", "replay", number, "--dry-run", "--json")
    assert [letter["id"] for letter in dry.json] == [int(number)]
    assert len(letters(here, dead)) == 2
    assert here("outbox", "replay", number, "--json").json == {"replayed": 1}
    assert len(letters(here, dead)) == 1
    assert letters(here, dead, "--replayed")[0]["replayed_as"]
    again = here("outbox", "replay", number)
    assert (again.code, number in again.err) == (1, True)


@pytest.mark.parametrize("words", [(), ("1", "--all")])
def test_replay_wants_ids_or_all(here: Cli, words: tuple[str, ...]) -> None:
    answer = here("outbox", "replay", *words)
    assert (answer.code, "--all" in answer.err) == (2, True)


def test_a_job_is_run_and_its_run_is_shown(here: Cli) -> None:
    assert here("scheduler", "run", "outbox-partitions", "--json").json["outcome"] == "done"
    jobs = {job["name"]: job for job in here("scheduler", "list", "--json").json}
    assert jobs["outbox-partitions"]["last_outcome"] == "done"
    assert jobs["transaction-partitions"]["cron"] == "15 0 * * *"
    assert "outbox-partitions" in here("scheduler", "list").out


def test_an_unknown_job_is_wrong_usage(here: Cli) -> None:
    answer = here("scheduler", "run", "nonsense")
    assert (answer.code, "outbox-partitions" in answer.err) == (2, True)


def test_a_discarded_letter_is_shown_with_its_reason_and_pruned_when_old(
    here: Cli, dead: str
) -> None:
    number = str(letters(here, dead)[0]["id"])
    dry = here("outbox", "discard", number, "--reason", "x", "--dry-run", "--json")
    assert [letter["id"] for letter in dry.json] == [int(number)]
    done = here("outbox", "discard", number, "--reason", "nobody [x] waits", "--json")
    assert done.json == {"discarded": 1}
    shown = here("outbox", "dead-letters", "--topic", dead, "--settled").out
    assert "nobody [x] waits" in shown
    assert "no dead letters to remove" in here("outbox", "prune", "--days", "1", "--dry-run").out
    dry = here("outbox", "prune", "--days", "0", "--dry-run", "--json")
    assert (dry.json["dry_run"], dry.json["removed"][dead]) == (True, 1)
    assert here("outbox", "prune", "--days", "0", "--json").json["removed"][dead] == 1
    assert len(letters(here, dead, "--settled")) == 1


def test_runs_are_shown_the_newest_first_and_pruned_but_for_the_last(here: Cli) -> None:
    for _ in range(3):
        assert here("scheduler", "run", "expired-data").code == 0
    found = here("scheduler", "history", "expired-data", "--limit", "2", "--json").json
    assert [run["outcome"] for run in found["runs"]] == ["done", "done"]
    older = here(
        "scheduler", "history", "expired-data", "--before", str(found["next"]), "--json"
    ).json["runs"]
    assert older[0]["id"] < found["runs"][1]["id"]
    shown = here("scheduler", "history", "expired-data").out
    assert "sealed_data_items" in shown
    prune = ("scheduler", "prune", "--days", "0", "--keep", "1")
    dry = here(*prune, "--dry-run", "--json").json["removed"]["expired-data"]
    assert dry >= 2
    assert here(*prune, "--json").json["removed"]["expired-data"] == dry
    assert len(here("scheduler", "history", "expired-data", "--json").json["runs"]) == 1


def test_the_history_of_an_unknown_job_is_not_found(here: Cli) -> None:
    answer = here("scheduler", "history", "nonsense")
    assert (answer.code, "outbox-partitions" in answer.err) == (1, True)


@pytest.mark.parametrize("words", [(), ("--force", "--dry-run")])
def test_a_year_is_not_dropped_without_being_asked_twice(here: Cli, words: tuple[str, ...]) -> None:
    answer = here("store", "postgres", "drop-year", "2024", *words)
    assert (answer.code, "--force" in answer.err) == (2, True)


def test_a_year_is_looked_at_and_this_one_is_not_dropped(here: Cli) -> None:
    dry = here("store", "postgres", "drop-year", "2024", "--dry-run", "--json").json
    assert (dry["state"], dry["keys"]) == ("attached", 0)
    this = datetime.now(UTC).year
    answer = here("store", "postgres", "drop-year", str(this), "--force")
    assert (answer.code, "past" in answer.err) == (2, True)
    assert "no partition" in here("store", "postgres", "drop-year", "1999", "--force").out
