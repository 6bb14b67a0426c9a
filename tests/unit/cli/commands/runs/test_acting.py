"""What is done with a run by its id: it is cancelled wherever it runs, waited for, deleted, and never too much is."""

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from vmkiln.cli import main
from vmkiln.cli.commands.runs import acting
from vmkiln.cli.commands.runs.acting import age_of, to_prune
from vmkiln.cli.commands.runs.run_logs import moment_of, start_of_tail
from vmkiln.cli.completing import run_ids
from vmkiln.errors import InputError
from vmkiln.run.held import lease
from vmkiln.run_state import TERMINAL_STATES, Phase, RunState
from vmkiln.settings import Settings
from vmkiln.staging import run_directory, staging_resource_group
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.logs.log_index import LogIndex
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import ImageRow, RunOutputRow, RunRow
from vmkiln.store.run_table import OF_RUNS

TEMPLATE = "/subscriptions/s/resourcegroups/rg/providers/microsoft.virtualmachineimages/imagetemplates/web"
HOLDER = """
import signal, sys
from pathlib import Path
from vmkiln.run_state import RunState
from vmkiln.staging import run_directory
from vmkiln.store.database import opened
home, run_id = Path(sys.argv[1]), sys.argv[2]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
with run_directory.locked(home / "runs", run_id):
    print("held", flush=True)
    signal.sigwait({signal.SIGTERM})
    with opened(home / "vmkiln.sqlite") as store:
        store.runs.move(run_id, expected=[RunState.RUNNING], state=RunState.CANCELED)
"""


def id_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def a_run(number: int, state: RunState, *, template_id: str = "", days: float = 0) -> RunRow:
    started = utc_now() - timedelta(days=days, minutes=1)
    ended = utc_now() - timedelta(days=days) if state in TERMINAL_STATES else None
    return RunRow(id_of(number), "web", "rg", {}, state, "", "", "", "", {}, started, ended, template_id)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("VMKILN_DATABASE_URL", raising=False)
    found = Settings(tmp_path / "state")
    found.home.mkdir()
    return found


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.main(list(arguments))
    return int(ended.value.code or 0)


def record(settings: Settings, *rows: RunRow) -> None:
    with opened(settings.database) as store:
        for row in rows:
            store.runs.add(row)


def states(settings: Settings) -> dict[str, str]:
    with opened(settings.database) as store:
        return {row.run_id: str(row.state) for row in store.runs.list()}


def with_a_group(settings: Settings, number: int) -> Path:
    """Record an ended run with its staging resource group, log, phase and output; gives the group's folder."""
    record(settings, a_run(number, RunState.RUNNING))
    with opened(settings.database) as store:
        name = f"IT_rg_web_{number}"
        group = staging_resource_group.create(settings.staging, store, name=name, run_id=id_of(number), tags={})
        store.staging.use_group(name, run_id=id_of(number))
        with CustomizationLog(group.storage_account.blob(f"{LOGS}/{id_of(number)}/customization.log"), "r") as log:
            for line in range(5):
                log.write(f"line {line}")
        store.runs.begin_phase(id_of(number), Phase.CUSTOMIZING)
        store.images.put_output(RunOutputRow(id_of(number), "vhd", "/a/vhd", "", "Succeeded", ""))
        store.runs.move(id_of(number), expected=[RunState.RUNNING], state=RunState.SUCCEEDED)
    return settings.staging / name


def test_a_run_that_waits_is_cancelled_at_once(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    record(settings, a_run(1, RunState.QUEUED, template_id=TEMPLATE))
    assert vmkiln("run", "cancel", id_of(1)[:8], "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"run_id": id_of(1), "state": "Canceled"}
    assert vmkiln("run", "cancel", id_of(1)) == 2, "it has ended"


def test_a_run_of_another_process_is_cancelled_there(settings: Settings) -> None:
    record(settings, a_run(2, RunState.RUNNING))
    holding = [sys.executable, "-c", HOLDER, str(settings.home), id_of(2)]
    with subprocess.Popen(holding, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert vmkiln("run", "cancel", id_of(2)) == 0
        assert holder.wait(60) == 0
    assert states(settings)[id_of(2)] == "Canceled"


def test_a_process_that_dies_without_a_word_is_not_waited_for(settings: Settings) -> None:
    record(settings, a_run(2, RunState.RUNNING))
    program = HOLDER.replace("    with opened", "    sys.exit(1)\n    with opened")
    with subprocess.Popen([sys.executable, "-c", program, str(settings.home), id_of(2)], stdout=-1) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert vmkiln("run", "cancel", id_of(2)) == 1
    assert vmkiln("run", "wait", id_of(2)) == 1, "this command has recorded its end"
    assert states(settings)[id_of(2)] == "Failed"


def test_waiting_tells_what_the_run_came_to(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    record(settings, a_run(3, RunState.SUCCEEDED), a_run(4, RunState.FAILED), a_run(5, RunState.PARTIALLY_SUCCEEDED))
    assert [vmkiln("run", "wait", id_of(number)) for number in (3, 4, 5)] == [0, 1, 4]
    record(settings, a_run(6, RunState.QUEUED, template_id=TEMPLATE))
    assert vmkiln("run", "wait", id_of(6), "--timeout", "0") == 1
    assert "has not ended within 0 s" in capsys.readouterr().err


def test_who_waits_is_told_what_the_run_does(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was silent for the hours that a run may take."""
    told: list[str] = []

    @contextlib.contextmanager
    def long_work(text: str) -> Iterator[Callable[[str], None]]:
        told.append(text)
        yield told.append

    monkeypatch.setattr("vmkiln.cli.view.long_work.long_work", long_work)
    record(settings, a_run(7, RunState.QUEUED, template_id=TEMPLATE))
    assert vmkiln("run", "wait", id_of(7), "--timeout", "0") == 1
    assert told == [f"waiting for the end of run {id_of(7)[:8]}", f"run {id_of(7)[:8]} is Queued"]


@pytest.mark.parametrize("command", ["export", "cancel", "delete", "release", "retry", "shell"])
def test_a_run_without_a_name_is_none(
    command: str, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script whose variable was not set got an export of no run."""
    record(settings, a_run(3, RunState.SUCCEEDED))
    for name in ("", " "):
        assert vmkiln("run", command, name) == 2
        assert "no run is named" in capsys.readouterr().err
    assert states(settings) == {id_of(3): "Succeeded"}


def test_a_question_is_no_part_of_the_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(settings, a_run(3, RunState.SUCCEEDED))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert vmkiln("run", "delete", id_of(3), "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {"deleted": id_of(3)}
    assert "delete run" in told.err


def test_every_question_is_asked_on_standard_error() -> None:
    """A program that reads the answer from standard output found `[y/N]` before it."""
    for path in Path(acting.__file__).parents[2].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.confirm", "typer.prompt"}:
                asked = {word.arg: word.value for word in node.keywords}
                assert ast.unparse(asked["err"]) == "True", f"{path.name}:{node.lineno}"


def test_a_deleted_run_leaves_nothing(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_a_group(settings, 7)
    with_rows_everywhere(settings, id_of(7))
    assert folder.is_dir()
    assert vmkiln("run", "delete", id_of(7), "--yes") == 0
    assert not folder.exists()
    with opened(settings.database) as store:
        assert store.runs.list() == []
        assert [row for table in OF_RUNS for row in store.connections.rows(table.select())] == []
        assert store.images.outputs_of(id_of(7)) == []
        assert store.staging.list_groups() == []
    assert vmkiln("run", "show", id_of(7)) == 2


def test_a_failed_vm_goes_with_its_run_unless_somebody_is_in(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = with_a_group(settings, 7)
    held = lease.folder_of(settings, id_of(7))
    held.mkdir(parents=True)
    record_of_it = {"until": 4e9, "generation": 1, "size_bytes": 1, "sealed": ""}
    (held / lease.RECORD).write_text(json.dumps(record_of_it))
    with run_directory.locked(settings.runs, id_of(7)):
        assert vmkiln("run", "delete", id_of(7), "--yes") == 2
        assert "somebody is in the failed VM" in capsys.readouterr().err
        assert vmkiln("run", "prune", "--older-than", "0s", "--keep", "0", "--yes") == 0
        assert folder.is_dir()
        assert held.is_dir()
    assert vmkiln("run", "delete", id_of(7), "--yes") == 0
    assert not held.exists(), "nobody could let it go any more"
    assert not folder.exists()


def with_rows_everywhere(settings: Settings, run_id: str) -> None:
    """Put a row of a run into each table that has rows of runs and of nothing else, whatever it means there."""
    values = {str: "x", int: 1, float: 1.0, datetime: utc_now()}
    with opened(settings.database) as store, store.connections.begin() as connection:
        for table in [table for table in OF_RUNS if len(table.foreign_keys) == 1]:
            row = {column.key: values[column.type.python_type] for column in table.c if not column.foreign_keys}
            connection.execute(table.insert().values(**row, run_id=run_id))


def test_a_run_that_goes_on_or_is_a_templates_is_not_deleted(settings: Settings) -> None:
    record(settings, a_run(8, RunState.QUEUED, template_id=TEMPLATE), a_run(9, RunState.FAILED, template_id=TEMPLATE))
    for number in (8, 9):
        assert vmkiln("run", "delete", id_of(number), "--yes") == 2
    with opened(settings.database) as store:
        assert not store.runs.forget(id_of(8))
        assert not store.runs.forget(id_of(9))
    assert len(states(settings)) == 2


def test_a_run_whose_vhd_is_there_is_not_deleted(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_a_group(settings, 10)
    digest = f"sha256:{'0' * 64}"
    with opened(settings.database) as store:
        file = folder / "a.vhd"
        store.images.add(
            ImageRow("/x/vhd", "VHD", file, "vhd", digest, 1, 1, 1, "Linux", "", id_of(10), {}, {}, utc_now())
        )
    assert vmkiln("run", "delete", id_of(10), "--yes") == 2
    assert folder.is_dir()
    assert vmkiln("run", "prune", "--older-than", "0s", "--keep", "0", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"deleted": []}


def test_old_runs_are_pruned_but_for_the_newest_of_each_template(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    record(
        settings,
        *(a_run(number, RunState.FAILED, days=number) for number in (11, 12, 40, 41)),
        a_run(50, RunState.FAILED, days=50, template_id=TEMPLATE),
    )
    assert vmkiln("run", "prune", "--yes", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["deleted"]) == {id_of(40), id_of(41)}
    assert set(states(settings)) == {id_of(number) for number in (11, 12, 50)}


def test_the_newest_of_each_name_are_kept() -> None:
    rows = [a_run(number, RunState.FAILED) for number in range(4)]
    assert to_prune(rows, keep=2) == rows[2:]
    assert to_prune([a_run(1, RunState.RUNNING)], keep=0) == []


def test_an_age_has_a_unit() -> None:
    assert age_of("12h") == timedelta(hours=12)
    for wrong in ("", "12", "d", "-1d", "1w"):
        with pytest.raises(InputError):
            age_of(wrong)


def test_a_log_is_told_from_its_end_and_by_what_matches(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with_a_group(settings, 13)
    assert vmkiln("run", "logs", "--tail", "3") == 0
    assert [line[-6:] for line in capsys.readouterr().out.splitlines()][:2] == ["line 3", "line 4"]
    assert vmkiln("run", "logs", "--grep", "line [12]") == 0
    assert [line[-6:] for line in capsys.readouterr().out.splitlines()] == ["line 1", "line 2"]
    assert vmkiln("run", "logs", "--tail", "0") == 0
    assert capsys.readouterr().out == ""
    assert vmkiln("run", "logs", "--grep", "(") == 2


def test_a_log_is_told_since_a_time(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_a_group(settings, 16)
    [log] = folder.glob(f"*/{LOGS}/*/customization.log")
    with LogIndex(log) as index:
        index.step = "install"
        index.note(0, 1_800_000_000.0)
    assert vmkiln("run", "logs", "--since", "2000-01-01", "--grep", "line", "--timestamps") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("2027-01-15T08:00:00.000Z install  ")
    assert vmkiln("run", "logs", "--since", "2100-01-01T00:00:00Z") == 0
    assert capsys.readouterr().out == ""
    assert moment_of("10m", now=1000.0) == 400.0
    assert moment_of("1970-01-01T00:01:00", now=0.0) == 60.0
    assert vmkiln("run", "logs", "--since", "yesterday") == 2


def test_the_newest_picture_of_a_runs_screen_goes_to_a_new_file(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, target = with_a_group(settings, 17), tmp_path / "screen.png"
    [log] = folder.glob(f"*/{LOGS}/*/customization.log")
    arguments = ("run", "screenshot", id_of(17), "--picture", str(target))
    assert vmkiln(*arguments) == 2
    assert "no picture of a screen is kept" in capsys.readouterr().err
    for number, name in enumerate(("build-vm-screen-00002.png", "validation-vm-screen-00001.png")):
        log.with_name(name).write_bytes(name.encode())
        os.utime(log.with_name(name), ns=(number, number))
    assert vmkiln(*arguments) == 0
    assert target.read_bytes() == b"validation-vm-screen-00001.png"
    assert vmkiln(*arguments) == 2, "what is there is not written over"


def test_the_tail_of_a_log_begins_at_a_line(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"one\ntwo\nthree\nunfin")
    assert [start_of_tail(file, count) for count in (0, 1, 2, 9)] == [14, 8, 4, 0]
    assert start_of_tail(tmp_path / "none", 3) == 0


def test_the_file_for_a_report_has_the_run(settings: Settings, tmp_path: Path) -> None:
    with_a_group(settings, 14)
    assert vmkiln("run", "export", id_of(14), str(tmp_path / "run.tar.gz")) == 0
    assert (tmp_path / "run.tar.gz").stat().st_size > 100


def test_a_shell_completes_the_ids_of_runs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_ids("") == []
    record(settings, a_run(15, RunState.FAILED))
    assert run_ids("0000") == [(id_of(15)[:8], "Failed web")]
    assert run_ids("f") == []
    monkeypatch.setenv("VMKILN_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert run_ids("") == []
    assert os.environ["VMKILN_HOME"]
