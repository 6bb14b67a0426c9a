"""`vmkiln run` and `vmkiln staging` on what the database and the storage account have."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vmkiln.azure_names import FLOW_LOG
from vmkiln.cli import main
from vmkiln.fleet.log_retention import NOTE
from vmkiln.run_state import PartKind, Phase, RunState
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.logs.log_index import LogIndex
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunOutputRow, RunRow
from vmkiln.store.run_facts import CheckpointFact
from vmkiln.store.timeline.part_table import PartRow

RUN_ID = "0123abcd-0000-0000-0000-000000000000"
GROUP = "IT_rg_web_x"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def recorded(home: Path) -> Settings:
    """One run that succeeded, with its staging resource group and log."""
    settings = Settings(home)
    with opened(settings.database) as store:
        store.runs.add(RunRow(RUN_ID, "web", "rg", {}, "Running", "", "", "", "", {"generation": 1}, utc_now(), None))
        store.runs.begin_phase(RUN_ID, Phase.CUSTOMIZING)
        group = staging_resource_group.create(settings.staging, store, name=GROUP, run_id=RUN_ID, tags={"team": "web"})
        with CustomizationLog(group.storage_account.blob(f"{LOGS}/{RUN_ID}/customization.log"), RUN_ID) as log:
            log.write("hello \x1b[2Jworld")
        store.images.put_output(RunOutputRow(RUN_ID, "vhd", "/a/vhd", "", "Succeeded", ""))
        store.runs.move(RUN_ID, expected=["Running"], state=RunState.SUCCEEDED)
    return settings


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)


def test_lines_of_a_log_are_told_with_their_time_and_step(
    recorded: Settings, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    [path] = recorded.staging.glob(f"*/*/{LOGS}/{RUN_ID}/customization.log")
    with LogIndex(path) as index:
        index.step = "inst\x1ball"
        index.note(0, 1.5)
    assert vmkiln("run", "logs", RUN_ID, "--timestamps") == 0
    first = capfdbinary.readouterr().out.splitlines()[0].decode()
    assert first.startswith("1970-01-01T00:00:01.500Z inst\\x1ball  [")
    assert vmkiln("run", "logs", RUN_ID) == 0
    assert capfdbinary.readouterr().out.startswith(f"[{RUN_ID}]".encode())


def test_a_line_of_a_log_is_no_mark_of_a_ci(recorded: Settings, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    [path] = recorded.staging.glob(f"*/*/{LOGS}/{RUN_ID}/customization.log")
    path.write_text("a ##[error]b\n  ::error::c\n")
    assert vmkiln("run", "logs", RUN_ID) == 0
    assert capfdbinary.readouterr().out == b"a #\\x23[error]b\n  \\x3a:error::c\n"
    assert vmkiln("run", "logs", RUN_ID, "--raw") == 0
    assert capfdbinary.readouterr().out == path.read_bytes()


@pytest.mark.parametrize("options", [(), ("--json",), ("--as-allow-list",)])
def test_connections_that_are_not_kept_any_longer_are_no_empty_list(
    recorded: Settings, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    """An empty list of names would lock a run that needed some."""
    [log] = recorded.staging.glob(f"*/*/{LOGS}/{RUN_ID}/customization.log")
    log.with_name(FLOW_LOG).write_bytes(NOTE)
    assert vmkiln("run", "flows", RUN_ID, *options) == 2
    shown = capsys.readouterr()
    assert "not kept any longer" in shown.err + shown.out
    log.with_name(FLOW_LOG).write_text("")
    assert vmkiln("run", "flows", RUN_ID, *options) == 0


@pytest.mark.parametrize(("maker", "count"), [("1" * 36, 1), (RUN_ID, 0)])
def test_a_list_that_is_learned_says_when_steps_did_not_run(
    recorded: Settings, capsys: pytest.CaptureFixture[str], maker: str, count: int
) -> None:
    """What an attempt of the same run left is no other run's: its flows are in the same log."""
    [log] = recorded.staging.glob(f"*/*/{LOGS}/{RUN_ID}/customization.log")
    log.with_name(FLOW_LOG).write_text("")
    fact: CheckpointFact = {
        "key": "k", "run_id": maker, "position": 2, "step": "fe\ntch", "age_seconds": 60, "no_persistence": False
    }  # fmt: skip
    with opened(recorded.database) as store:
        store.runs.add_facts(RUN_ID, checkpoint=fact)
    assert vmkiln("run", "flows", RUN_ID, "--as-allow-list") == 0
    *remarks, policy = capsys.readouterr().out.split("\n")[:-2]
    assert policy == "none"
    assert [remark.partition(":")[0] for remark in remarks] == ["# not all"] * count, "a step's name ends no remark"


def test_what_held_each_process_is_printed_fact_by_fact(recorded: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("run", "show", RUN_ID, "--confinement") == 2
    assert "nothing is known of what held" in capsys.readouterr().err
    held = {"name": "user id", "expected": "40000", "found": "40000", "holds": True, "required": True}
    not_held = {"name": "root", "expected": "tmpfs", "found": "ext\x1b4", "holds": False, "required": True}
    with opened(recorded.database) as store:
        store.runs.add_facts(RUN_ID, **{"build-vm_confinement": [held, not_held]})  # type: ignore[arg-type]
    assert vmkiln("run", "show", RUN_ID, "--confinement", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"build-vm": [held, not_held]}
    assert vmkiln("run", "show", RUN_ID, "--confinement") == 0
    assert capsys.readouterr().out.splitlines() == [
        "build-vm: 1 of 2 facts hold",
        "  yes  user id: 40000",
        "  NO   root: ext\\x1b4, not tmpfs",
    ]


@pytest.mark.parametrize("command", ["show", "wait"])
def test_the_message_of_a_run_has_no_power_over_the_terminal(
    command: str, recorded: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names of its steps are its template's author's, who is not always the one who looks."""
    run_id, moment = "00000000-0000-0000-0000-00000000000e", datetime(2026, 1, 1, tzinfo=UTC)
    message = "customizing failed in `in\x1b]0;owned\x07stall`:\nno"
    row = RunRow(run_id, "web", "rg", {}, RunState.FAILED, "", message, "", "", {}, moment, moment)
    with opened(recorded.database) as store:
        store.runs.add_many([row])
    vmkiln("run", command, run_id)
    told = capsys.readouterr()
    assert "customizing failed in `in\\x1b]0;owned\\x07stall`:\nno" in told.out
    assert "\x1b" not in told.out + told.err


def test_a_timeline_is_printed_beside_what_is_usual(recorded: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("run", "timeline") == 2, "there is none of an older run"
    with opened(recorded.database) as store:
        run = store.runs.find(RUN_ID)
        before = replace(run, run_id="1" * 36, started=run.started - timedelta(hours=1))
        store.runs.add(before)
        for number, row in enumerate((run, before)):
            ended = row.started + timedelta(seconds=10 + number)
            store.timelines.put([PartRow(row.run_id, 1, 0, PartKind.CUSTOMIZER, "install", row.started, ended, 2.5)])
    capsys.readouterr()
    assert vmkiln("run", "timeline", RUN_ID[:6]) == 0
    shown = capsys.readouterr().out
    assert "10.0 s  cpu     2.5 s  peak          -  usually    11.0 s\n" in shown
    assert "the median of 1 earlier run of this template" in shown
    assert vmkiln("run", "timeline", RUN_ID, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["compared_with"], found["parts"][0]["usual_seconds"]) == (["1" * 36], 11.0)
    assert vmkiln("run", "show", RUN_ID) == 0
    assert "install  " in capsys.readouterr().out, "where there is a timeline, it is the waterfall"


def test_a_timeline_says_in_which_part_a_process_died(recorded: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(recorded.database) as store:
        began = store.runs.find(RUN_ID).started
        store.timelines.put([PartRow(RUN_ID, 1, 0, PartKind.CUSTOMIZER, "install", began, None)])
    assert vmkiln("run", "timeline", RUN_ID) == 0, "also when no part has ended"
    assert "install (attempt 1, since " in capsys.readouterr().out


@pytest.mark.usefixtures("recorded")
def test_runs_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("run", "list") == 0
    assert RUN_ID[:8] in capsys.readouterr().out
    assert vmkiln("run", "list", "--json") == 0
    assert [item["run_id"] for item in json.loads(capsys.readouterr().out)] == [RUN_ID]
    for which in (["--last"], [RUN_ID[:6]], []):
        assert vmkiln("run", "show", *which) == 0
        shown = capsys.readouterr().out
        assert "Customizing" in shown
        assert "vhd: Succeeded /a/vhd" in shown
        assert "generation: 1" in shown


@pytest.mark.usefixtures("recorded")
def test_logs_are_shown_harmless_or_raw(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert vmkiln("run", "logs") == 0
    assert b"\x1b" not in (shown := capfdbinary.readouterr().out)
    assert b"world" in shown
    assert vmkiln("run", "logs", "--raw", "-f") == 0
    assert b"\x1b[2J" in capfdbinary.readouterr().out


@pytest.mark.usefixtures("recorded")
def test_a_log_that_is_not_there_is_said_to_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("run", "logs", "--validation") == 2
    assert "validation.log" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", [["run", "show"], ["run", "logs"], ["staging", "show"]])
def test_without_a_run_it_says_how_to_make_one(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln(*command) == 2
    assert "vmkiln build" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_lists_are_empty_at_first(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["run", "list"], ["staging", "list"], ["image", "list"]):
        assert vmkiln(*command, "--json") == 0
        assert json.loads(capsys.readouterr().out) == []


def test_a_staging_group_is_shown_and_deleted(recorded: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("staging", "list") == 0
    assert GROUP in capsys.readouterr().out
    assert vmkiln("staging", "show", "--last") == 0
    shown = capsys.readouterr().out
    assert "tag team: web" in shown
    assert f"blob packerlogs/{RUN_ID}/customization.log" in shown
    assert "nothing temporary is left" in shown
    assert vmkiln("staging", "delete", "--yes", "IT_rg") == 0
    assert not (recorded.staging / GROUP).exists()
    capsys.readouterr()
    assert vmkiln("staging", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert vmkiln("staging", "list", "--all") == 0
    assert "deleted" in capsys.readouterr().out


@pytest.mark.usefixtures("recorded")
def test_a_name_that_does_not_exist_is_an_error_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["run", "show", "ffff"], ["staging", "show", "nothing"], ["staging", "boot", GROUP]):
        assert vmkiln(*command) == 2
        assert "hint:" in capsys.readouterr().err
