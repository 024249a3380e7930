"""The faults that are done to archives, base backups and recoveries; `python -m tests.pitr.faults`
prints the table of `docs/recovery.md`."""

from __future__ import annotations

import sys

FAULTS = (
    ("a segment of WAL is missing", "found by `wal-check`; a restore beyond it is refused",
     "test_damage::test_a_hole_is_found_and_refused"),
    ("a segment is archived again", "taken once; another content under its name is refused",
     "test_archive::test_another_segment_of_the_name_is_refused"),
    ("eight archive one segment at once", "one wins, the others learn whether theirs is the same",
     "test_archive::test_of_many_that_race_one_wins"),
    ("a bit of archived WAL is flipped", "caught when it is fetched; the recovery stops",
     "test_damage::test_a_flipped_bit_in_wal_is_found_and_stops_the_recovery"),
    ("a segment lies under another's name", "caught when it is fetched",
     "test_archive::test_a_segment_under_another_name_is_caught"),
    ("the archive is away", "an error, never taken for the end of WAL",
     "test_command::test_an_archive_that_is_away_is_no_end_of_wal"),
    ("a push is killed at every step", "no half segment is ever fetched",
     "test_command::test_a_push_that_is_killed_leaves_no_half_segment"),
    ("a bit of a base backup is flipped", "refused while it is read",
     "test_damage::test_a_flipped_bit_in_a_base_backup_is_caught"),
    ("a base backup lacks its own WAL", "refused",
     "test_damage::test_a_base_backup_without_its_own_wal_is_refused_in_any_case"),
    ("a link of an incremental chain is missing", "refused before anything is touched",
     "test_damage::test_a_chain_without_a_link_is_refused_before_anything_is_touched"),
    ("a link is another full backup", "refused",
     "test_damage::test_a_link_that_is_another_full_backup_is_refused"),
    ("the key is another one, or none", "refused",
     "test_damage::test_another_key_or_none_is_refused"),
    ("the server archives elsewhere", "a base backup says so and does not count",
     "test_damage::test_a_target_to_which_the_server_does_not_archive_is_noticed"),
    ("a restore point's name is used again", "refused",
     "test_recovery::test_the_name_of_a_point_is_taken_once"),
    ("a moment that WAL does not reach", "an error, and nothing is left behind",
     "test_recovery::test_a_moment_that_wal_does_not_reach_is_an_error_and_leaves_nothing"),
    ("a restore point of another cluster", "told apart",
     "test_timelines::test_a_point_of_another_cluster_is_told_apart"),
    ("`backup base` or `restore` is killed at random", "what is half-made never counts",
     "test_killed::test_what_was_killed_leaves_nothing_that_counts"),
)  # fmt: skip
"""What happens, what comes of it, and the test that tries it."""


def table() -> str:
    """The table of the docs."""
    lines = ["| what happens | what comes of it |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {what} | {outcome} |" for what, outcome, _ in FAULTS)]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
