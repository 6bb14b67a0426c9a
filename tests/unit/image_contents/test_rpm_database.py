"""Packages are read from a database that rpm 4.18 made, and one that was changed is refused or read, never worse."""

import gzip
import random
from contextlib import suppress
from pathlib import Path

import pytest

from vmkiln.image_contents import rpm_database
from vmkiln.image_contents.dpkg_status import Package
from vmkiln.image_contents.rpm_database import MOST_TAGS, rpm_packages_in
from vmkiln.image_contents.sqlite_table import SqliteRefused

MADE_BY_RPM = gzip.decompress(Path(__file__).with_name("rpmdb.sqlite.gz").read_bytes())


def test_what_rpm_installed_is_read_without_rpm() -> None:
    packages = rpm_packages_in(MADE_BY_RPM)
    assert packages.odd == 0
    assert packages.installed == tuple(
        Package(f"alpha{number}", "noarch", "2:1.2-3", f"alpha{number}") for number in (1, 2, 3)
    )


def test_a_changed_database_ends_no_other_way_than_refused() -> None:
    chosen = random.Random(1)  # noqa: S311 (which bytes, nothing secret)
    for _ in range(300):
        changed = bytearray(MADE_BY_RPM)
        for _ in range(chosen.choice([1, 3, 30])):
            at = chosen.choice([chosen.randrange(len(changed)), chosen.randrange(200)])
            changed[at] = chosen.randrange(256)
        with suppress(SqliteRefused):
            rpm_packages_in(bytes(changed[: chosen.choice([len(changed), chosen.randrange(len(changed))])]))


@pytest.mark.parametrize("file", [b"", b"SQLite format 3\0", b"x" * 4096])
def test_what_is_no_database_is_refused(file: bytes) -> None:
    with pytest.raises(SqliteRefused):
        rpm_packages_in(file)


def test_a_header_that_claims_more_tags_than_it_has_is_read_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = MOST_TAGS.to_bytes(4) + bytes(4)
    monkeypatch.setattr(rpm_database, "rows_of", lambda _file, _table: iter([(1, claims)]))
    monkeypatch.setattr(rpm_database, "range", None, raising=False)  # no tag is looked for
    assert rpm_packages_in(b"").odd == 1
