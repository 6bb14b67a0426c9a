"""The list of runs by plain SQL: it tells what the whole store tells, and leaves to that what it cannot know."""

import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from vmkiln.azure_names import IMAGE_TEMPLATE, group_id
from vmkiln.cli import main
from vmkiln.cli.completing import (
    app_ids,
    assignment_ids,
    context_names,
    group_names,
    host_names,
    image_names,
    image_names_or_files,
    key_ids,
    names_of_runs,
    platform_image_names,
    quarantined_names,
    role_names,
    template_names,
)
from vmkiln.cli.contexts import Context, Contexts, contexts_file, write_contexts
from vmkiln.cli.run_list import newest_revision, read_run_list
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.staging import run_directory, staging_resource_group
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import HostRow, ImageRow, KeyKind, ResourceRow, RunRow
from vmkiln.store.schema import HEAD

NOW = utc_now()


def a_run(number: int, state: RunState, **facts: object) -> RunRow:
    ended = NOW - timedelta(minutes=number, seconds=-33) if state not in {RunState.RUNNING, RunState.QUEUED} else None
    started = NOW - timedelta(minutes=number)
    sub_state = "" if ended else "Building"
    return RunRow(f"{number:08}-0", f"web{number}", "rg", {}, state, sub_state, "", "", "", dict(facts), started, ended)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "a home?"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = Settings(tmp_path / "a home?")
    found.home.mkdir()
    with opened(found.database) as store:
        ended = [state for state in RunState if state not in {RunState.RUNNING, RunState.QUEUED, RunState.CANCELING}]
        for number, state in enumerate(ended, start=1):
            store.runs.add(a_run(number, state, attempt=number))
    return found


def listed(*options: str) -> list[str]:
    with pytest.raises(SystemExit) as caught:
        main.main(["run", "list", *options])
    return [str(caught.value.code)]


def test_it_tells_what_the_store_tells(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(settings.database) as store:
        rows = store.runs.list()
    found = read_run_list(settings.database, limit=100)
    assert found is not None
    assert found.unended == {}
    assert len(found.newest) == 4
    assert [vars(one) | {"attempt": one.attempt} for one in found.newest] == [
        {
            "run_id": row.run_id, "template_name": row.template_name, "state": row.state, "sub_state": row.sub_state,
            "started": row.started.replace(tzinfo=None), "ended": row.ended and row.ended.replace(tzinfo=None),
            "attempt": row.attempt,
        }
        for row in rows
    ]  # fmt: skip
    assert [one.run_id for one in (read_run_list(settings.database, limit=2) or found).newest] == [
        row.run_id for row in rows[:2]
    ]


def test_the_command_prints_the_same_either_way(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_directory.locked(settings.runs, "00000000-0"), opened(settings.database) as store:
        store.runs.add(a_run(0, RunState.RUNNING))
        listed()
        quick = capsys.readouterr().out
        monkeypatch.setattr("vmkiln.cli.run_list.read_run_list", lambda *_, **__: None)
        listed()
        assert capsys.readouterr().out == quick
    assert len(quick.splitlines()) == 6
    assert "Building" in quick
    assert "(attempt 3)" in quick


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING])
def test_a_run_that_waits_or_whose_process_died_takes_the_whole_store(
    settings: Settings, state: RunState, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(settings.database) as store:
        store.runs.add(a_run(0, state))
    listed()
    told = capsys.readouterr().out.splitlines()[1]
    assert ("place 1" in told) if state == RunState.QUEUED else ("Failed" in told)


def test_what_a_dead_run_left_is_still_cleaned_up(settings: Settings) -> None:
    left = settings.runs / "99999999-0"
    left.mkdir(parents=True)
    listed()
    assert not left.exists()


def test_a_database_that_is_missing_older_or_damaged_is_left_to_the_store(settings: Settings, tmp_path: Path) -> None:
    assert read_run_list(tmp_path / "none.sqlite", limit=1) is None
    (tmp_path / "odd.sqlite").write_bytes(b"not a database, though long enough to be looked at" * 100)
    assert read_run_list(tmp_path / "odd.sqlite", limit=1) is None
    with sqlite3.connect(settings.database) as connection:
        connection.execute("UPDATE vmkiln_revision SET version_num = '0001'")
    connection.close()
    assert read_run_list(settings.database, limit=1) is None


def test_it_knows_the_newest_schema() -> None:
    assert newest_revision() == HEAD


def test_a_shell_completes_names_of_images_templates_and_hosts(settings: Settings) -> None:
    assert (image_names(""), template_names(""), host_names("")) == ([], [], [])
    images = f"{group_id('0', 'rg')}/providers/Microsoft.Compute"
    twin = f"{group_id('0', 'other')}/providers/Microsoft.Compute/images/twin"
    version = f"{images}/galleries/g/images/d/versions/1.0.0"
    with opened(settings.database) as store:
        for artifact_id in (f"{images}/images/hello", f"{images}/images/twin", twin, version):
            row = ImageRow(artifact_id, "Image", Path("x"), "raw", "0", 1, 1, 1, "Linux", "", "r", {}, {}, NOW)
            store.images.add(row)
        name = f"{group_id('0', 'rg')}/providers/{IMAGE_TEMPLATE}/web"
        store.resources.insert(ResourceRow(name, IMAGE_TEMPLATE, "web", "0", "rg"))
        for host in ("one", "two"):
            store.hosts.register(HostRow(host, host, host, "x64", "", "", 4, 1, 1), lease_seconds=60)
        store.hosts.leave("two")
    assert image_names("h") == [("hello", "Image")]
    assert {found for found, _ in image_names("")} == {"hello", f"{images}/images/twin", twin, version}
    assert {found for found, _ in image_names(f"{images}/images/h")} == {f"{images}/images/hello"}
    assert [found for found, _ in template_names("w")] == ["web"]
    assert host_names("") == [("one", "x64")], "the other one has ended"


def test_a_shell_completes_the_names_of_what_ran(settings: Settings) -> None:
    with opened(settings.database) as store:
        assert [found for found, _ in names_of_runs("web")] == store.runs.template_names()
    assert [found for found, _ in names_of_runs("web1")] == ["web1"]


def test_a_template_that_never_ran_is_told_with_the_one_meant(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert settings.database.exists()
    assert listed("--template", "wbe1") == ["0"]
    assert capsys.readouterr().err == "no run of a template `wbe1` is on record; did you mean `web1`?\n"


def test_a_shell_completes_groups_principals_keys_and_roles(settings: Settings) -> None:
    assert (group_names(""), app_ids(""), key_ids(""), assignment_ids("")) == ([], [], [], [])
    with opened(settings.database) as store:
        for name in ("IT_a", "IT_b"):
            staging_resource_group.create(settings.staging, store, name=name, run_id="0123abcd-0", tags={})
        gone = staging_resource_group.find(store, "IT_b")
        staging_resource_group.delete(settings.staging, store, gone)
        principal, _ = store.principals.create("ci")
        key = store.principals.add_key(principal.app_id, KeyKind.CERTIFICATE, "laptop", {})
        given = store.principals.assign(principal.object_id, "Reader", "/")
    assert group_names("IT") == [("IT_a", "0123abcd")], "the other one is deleted"
    assert app_ids("") == [(principal.app_id, "ci")]
    assert key_ids(key.key_id[:8]) == [(key.key_id, f"{KeyKind.CERTIFICATE.value} laptop")]
    assert assignment_ids("") == [(given.assignment_id, "Reader /")]
    assert (role_names("c"), len(role_names(""))) == (["Contributor"], 3)


def test_a_shell_completes_contexts_files_and_platform_images(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert context_names("") == []
    write_contexts(contexts_file(os.environ), Contexts("", {"example": Context("https://build.example.org", "a", "s")}))
    assert context_names("e") == [("example", "https://build.example.org")]
    (tmp_path / "web.vhd").write_text("")
    (tmp_path / ".hidden").write_text("")
    assert image_names_or_files("w") == [("web.vhd", "")]
    assert [name for name, _ in image_names_or_files(f"{tmp_path}/")] == [f"{tmp_path}/{x}" for x in places(tmp_path)]
    assert image_names_or_files("nowhere/x") == []
    assert "Debian:debian-12:12-gen2" in platform_image_names("debian:debian-12")
    settings.catalogue.write_text("no catalogue {")
    assert platform_image_names("") == []


def places(folder: Path) -> list[str]:
    return sorted(f"{path.name}{'/' * path.is_dir()}" for path in folder.iterdir() if path.name[0] != ".")


def test_what_is_no_note_of_an_image_is_not_completed(settings: Settings) -> None:
    for number, content in enumerate((b"{", b"[]", b"{}", b"\xff")):
        note = settings.image_store / str(number) / "record.json"
        note.parent.mkdir(parents=True)
        note.write_bytes(content)
    assert quarantined_names("") == []


@pytest.mark.parametrize(
    ("options", "states"),
    [
        (["--state", "failed"], ["Failed"]),
        (["--state", "Failed,canceled"], ["Failed", "Canceled"]),
        (["--template", "WEB1"], ["Succeeded"]),
        (["--template", "none"], []),
    ],
)
def test_chosen_runs_are_the_same_by_either_way(
    settings: Settings,
    options: list[str],
    states: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert settings.database.is_file()
    listed(*options)
    quick = capsys.readouterr()
    assert [line.split()[3] for line in quick.out.splitlines()[1:]] == states
    assert quick.err == ("" if states else "no run of a template `none` is on record\n")
    monkeypatch.setattr("vmkiln.cli.run_list.read_run_list", lambda *_, **__: None)
    listed(*options)
    by_the_store = capsys.readouterr()
    assert (by_the_store.out, by_the_store.err.endswith(quick.err)) == (quick.out, True)
