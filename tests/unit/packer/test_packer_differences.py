"""The table of what versions of Packer do differently."""

from pathlib import Path

from vmkiln.host.doctor.packer_version import CRASHING, OLDEST, obstacle, shown
from vmkiln.packer.packer_differences import DIFFERENCES, NEWEST_READ, RUN_HERE

OPERATIONS = Path(__file__).parents[3] / "docs/operations.md"


def test_the_rows_are_in_order_and_of_versions_that_were_read() -> None:
    versions = [row.since for row in DIFFERENCES]
    assert versions == sorted(versions)
    assert all(OLDEST < version <= NEWEST_READ for version in versions)


def test_the_page_says_which_versions_were_only_read() -> None:
    assert OLDEST in RUN_HERE
    assert f"Only {shown(OLDEST)} has been run by us" in OPERATIONS.read_text()
    assert f"to {shown(NEWEST_READ)} were read" in OPERATIONS.read_text()


def test_no_version_is_refused_but_for_the_reason_of_a_row() -> None:
    refused = {row.since for row in DIFFERENCES if "refused" in row.met_by}
    assert refused == {min(CRASHING)}
    assert all(obstacle(row.since) is None for row in DIFFERENCES if row.since not in CRASHING)
