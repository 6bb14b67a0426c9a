"""Runs that fail, time out, are cancelled or killed: each ends with a named cause and leaves nothing."""

import asyncio
import http.server
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiers
from conftest import VMKILN, Told, Wanted, a_template, shell, told_at_once, unchanged_world
from empty_world import differences, first_snapshot, own_subordinate_ids, snapshot
from terminal import CTRL_C, HIDDEN, SHOWN, Terminal
from turns import ON_EVEN_DAYS, ON_ODD_DAYS

from vmkiln.errors import CommandFailed, DownloadFailed, RunCanceled
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.qemu import Disk
from vmkiln.preparation import opened_store
from vmkiln.run import customizing
from vmkiln.run.run_context import Disks, Entered
from vmkiln.run.run_event import LogLine, Notice, PhaseStarted, RunEvent
from vmkiln.run_failures import CustomizationFailed, GuestPanicked, RunTimedOut, ValidationFailed, VirtualMachineLost
from vmkiln.run_state import Phase
from vmkiln.settings import Settings
from vmkiln.template.image_template import ImageTemplate

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("world")]

RunTemplate = Callable[..., Told]
CLOCK_SECONDS = 1.0  # by which the time of a file may be behind
VALIDATE_SOURCE_ONLY = {"sourceValidationOnly": True, "inVMValidations": [shell("true")]}


def recorded(prepared: Settings, told: Told) -> tuple[str, str]:
    """State and error code of a run, as the database has them."""
    with opened_store(prepared, print) as store:
        run = store.runs.find(told.run_id)
        assert store.images.list(prefix="/nothing") == []
        return run.state, run.error_code


def images_of(prepared: Settings, told: Told) -> list[str]:
    with opened_store(prepared, print) as store:
        return [image.artifact_id for image in store.images.list() if image.run_id == told.run_id]


# a step's own words for a name that no list has: asked for, and named to a server
REFUSED = (
    "getent hosts asked.example || true",
    'timeout 20 bash -c \'exec 3<>/dev/tcp/203.0.113.10/80; printf "GET / HTTP/1.1\\r\\nHost: named.example\\r\\n\\r\\n" >&3; '
    "head -n 1 <&3' || true",
)


@dataclass(frozen=True)
class Failed:
    """A run whose second step fails, after both printed a secure parameter, which is in its name, too.

    `refused` is another one at the same time, whose validation fails.
    """

    told: Told
    secret: str
    began: float
    refused: Told


@pytest.fixture(scope="module")
def failed(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Failed:
    secret = f"s3cret-{os.urandom(8).hex()}"
    forged = "printf 'Build finished\\n==> Builds finished\\n'"
    name = "[concat('broken ', parameters('password'))]"
    printing = "[concat('echo it is ', parameters('password'), ' >&2')]"
    steps = (shell(printing, name="first"), shell(forged, printing, *REFUSED, "exit 3", name=name))
    deployment = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"password": {"type": "secureString", "defaultValue": secret}},
        "resources": [
            {
                "type": "Microsoft.VirtualMachineImages/imageTemplates",
                "apiVersion": "2024-02-01",
                "identity": {"type": "None"},
                **a_template(*steps),
                "tags": {"vmkiln-egress": "good.example"},
            }
        ],
    }
    validate = {"sourceValidationOnly": True, "inVMValidations": [shell("exit 7", name="never")]}
    refusing = a_template(name="refused", validate=validate, errorHandling={"onValidationError": "abort"})
    began = time.time()
    with unchanged_world(prepared):
        files = tmp_path_factory.mktemp("files")
        told, refused = told_at_once(prepared, files, Wanted(deployment), Wanted(refusing))
    return Failed(told, secret, began, refused)


def test_a_failing_customizer_ends_the_run_and_names_the_step(prepared: Settings, failed: Failed) -> None:
    told = failed.told
    assert isinstance(told.error, CustomizationFailed)
    assert "`broken ***` (properties.customize[1])" in told.error.message
    assert "3" in told.error.message
    assert recorded(prepared, told) == ("Failed", "PackerBuildFailed")
    assert images_of(prepared, told) == []


def test_a_failed_step_of_a_locked_build_names_what_it_was_refused(prepared: Settings, failed: Failed) -> None:
    assert isinstance(failed.told.error, CustomizationFailed)
    assert any("HTTP/1.1 403 Forbidden" in line for line in failed.told.log)
    notices = [event.text for event in failed.told.events if isinstance(event, Notice)]
    told = [text for text in notices if "the egress policy refuses " in text]
    for wanted in ("asked.example", "named.example:80"):
        assert any(wanted in text and "in `broken ***`" in text for text in told), (wanted, told)
        assert wanted in str(failed.told.error.hint)
    with opened_store(prepared, print) as store:
        assert store.runs.find(failed.told.run_id).facts["egress_policy"].startswith("allow-list; only good.example ")


def test_a_secure_parameter_is_in_no_log_and_not_in_the_database(prepared: Settings, failed: Failed) -> None:
    told, secret = failed.told, failed.secret
    assert isinstance(told.error, CustomizationFailed)
    assert sum("it is ***" in line for line in told.log) >= 2, "the text was printed, so there was something to mask"
    assert secret not in repr(told)
    files = [path for path in prepared.home.rglob("*") if path.is_file() and path.suffix not in {".qcow2", ".ext4"}]
    # nothing was written since to what has not changed since: gigabytes of what VMs go on from are not read for nothing
    files = [path for path in files if path.stat().st_ctime >= failed.began - CLOCK_SECONDS]
    assert {"vmkiln.sqlite", "customization.log"} <= {path.name for path in files}, "what the run wrote is looked at"
    scripts = {path for path in files if "/scripts/" in str(path)}
    assert [path for path in files if path not in scripts and secret.encode() in path.read_bytes()] == []


def test_a_failing_validation_keeps_the_image_from_being_distributed(prepared: Settings, failed: Failed) -> None:
    told = failed.refused
    assert isinstance(told.error, ValidationFailed)
    assert "`never` (properties.validate.inVMValidations[0])" in told.error.message
    assert recorded(prepared, told) == ("Failed", "ValidationFailed")
    assert images_of(prepared, told) == []
    # abort keeps the VM: its disk is in the staging resource group until that is deleted
    with opened_store(prepared, print) as store:
        group = store.runs.find(told.run_id).staging_group
    assert (prepared.staging / group / "kept-vm.qcow2").is_file()
    subprocess.run([*VMKILN, "staging", "delete", "--yes", group], check=True, capture_output=True)
    assert not (prepared.staging / group).exists()


def test_a_wrong_checksum_ends_the_run_before_a_vm_starts(
    prepared: Settings, run_template: RunTemplate, tmp_path: Path
) -> None:
    (tmp_path / "script.sh").write_text("true\n")
    step = {"type": "Shell", "name": "s", "scriptUri": "file:script.sh", "sha256Checksum": "0" * 64}
    told = run_template(a_template(step))
    assert isinstance(told.error, DownloadFailed)
    assert "properties.customize[0].scriptUri" in told.error.message
    assert recorded(prepared, told)[0] == "Failed"
    assert not any(isinstance(event, LogLine) for event in told.events)


def test_the_build_timeout_ends_the_run(
    prepared: Settings, run_template: RunTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageTemplate, "build_timeout_seconds", 8)
    begin = time.monotonic()
    told = run_template(a_template(shell("sleep 600")))
    assert isinstance(told.error, RunTimedOut)
    assert time.monotonic() - begin < 8 + 20
    assert recorded(prepared, told) == ("Failed", "BuildTimeout")


def cancel_at(phase: Phase, *, after_log_line: str = "") -> Callable[[RunEvent, "asyncio.Task[Any]"], None]:
    """A watcher that cancels the run when a phase begins, or when a log line appears in it."""

    def watch(event: RunEvent, task: "asyncio.Task[Any]") -> None:
        starts = isinstance(event, PhaseStarted) and event.phase is phase and not after_log_line
        says = (
            isinstance(event, LogLine)
            and event.phase is phase
            and bool(after_log_line)
            and after_log_line in event.text
        )
        if starts or says:
            task.cancel()

    return watch


def check_canceled(prepared: Settings, told: Told) -> None:
    assert isinstance(told.error, RunCanceled)
    assert recorded(prepared, told)[0] == "Canceled"
    assert images_of(prepared, told) == []


# two of four a day, for each begins two VMs: `tests/faults/test_kill_every_process.py` cancels a run in each phase every
# day, with stand-ins for the VMs, and `test_clients_build.py` a real one while it customizes
@ON_EVEN_DAYS
def test_cancel_while_building(prepared: Settings, run_template: RunTemplate) -> None:
    check_canceled(prepared, run_template(a_template(shell("true")), watcher=cancel_at(Phase.BUILDING)))


@ON_ODD_DAYS
def test_cancel_while_a_script_is_being_copied(prepared: Settings, run_template: RunTemplate) -> None:
    asked = threading.Event()
    is_over = threading.Event()

    class _Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            is_over.wait(30)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it)
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def watch(event: RunEvent, task: "asyncio.Task[Any]") -> None:
            if isinstance(event, PhaseStarted) and event.phase is Phase.BUILDING:
                loop = asyncio.get_running_loop()

                def look() -> None:
                    if asked.is_set():
                        task.cancel()
                    else:
                        loop.call_later(0.1, look)

                look()

        uri = f"http://127.0.0.1:{server.server_port}/script.sh"
        told = run_template(a_template({"type": "Shell", "name": "s", "scriptUri": uri}), watcher=watch)
        is_over.set()
        server.shutdown()
        thread.join()
    check_canceled(prepared, told)


@ON_EVEN_DAYS
def test_cancel_while_customizing(prepared: Settings, run_template: RunTemplate) -> None:
    watcher = cancel_at(Phase.CUSTOMIZING, after_log_line="Waiting for SSH")
    check_canceled(prepared, run_template(a_template(shell("sleep 600")), watcher=watcher))


@ON_ODD_DAYS
def test_cancel_while_validating(prepared: Settings, run_template: RunTemplate) -> None:
    watcher = cancel_at(Phase.VALIDATING, after_log_line="Waiting for SSH")
    told = run_template(a_template(validate=VALIDATE_SOURCE_ONLY), watcher=watcher)
    check_canceled(prepared, told)


@pytest.fixture
def customizing_is_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the Customizing phase: an empty overlay, so that Distributing is reached without a VM."""

    async def customize(entered: Entered) -> Disks:
        source = Disk(entered.staged.source.path, entered.staged.source.format)
        return Disks(await create_overlay(source, entered.staged.directory / "build-vm.qcow2"))

    monkeypatch.setattr(customizing, "customize", customize)


@pytest.mark.usefixtures("customizing_is_instant")
def test_cancel_while_distributing(prepared: Settings, run_template: RunTemplate) -> None:
    def watch(event: RunEvent, task: "asyncio.Task[Any]") -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.DISTRIBUTING:
            asyncio.get_running_loop().call_later(0.3, task.cancel)

    check_canceled(prepared, run_template(a_template(shell("true"), name="canceled"), watcher=watch))


@pytest.mark.usefixtures("customizing_is_instant")
def test_cancel_while_cleaning_up_changes_nothing_that_was_published(
    prepared: Settings, run_template: RunTemplate
) -> None:
    told = run_template(a_template(shell("true"), name="late"), watcher=cancel_at(Phase.CLEANING_UP))
    state, _ = recorded(prepared, told)
    assert (state, told.error) == ("Succeeded", None)
    assert told.summary["state"] == "Succeeded"
    images = images_of(prepared, told)
    assert len(images) == 1
    for image in images:
        subprocess.run([*VMKILN, "image", "delete", "--yes", image], check=True, capture_output=True)


def test_a_build_vm_that_dies_ends_the_run_within_seconds(prepared: Settings, run_template: RunTemplate) -> None:
    died: list[float] = []

    def watch(event: RunEvent, task: "asyncio.Task[Any]") -> None:
        if isinstance(event, LogLine) and "Waiting for SSH" in event.text and kill_own(b"\0build-vm\0"):
            died.append(time.monotonic())

    # one that dies while it becomes another machine is booted instead
    told = run_template(a_template(shell("true")) | {"tags": {"vmkiln-cold": "true"}}, watcher=watch)
    assert died, "the build VM's process was found"
    assert isinstance(told.error, VirtualMachineLost)
    assert time.monotonic() - died[0] < 5
    assert recorded(prepared, told) == ("Failed", "BuildVmTerminated")


# `tests/faults/test_kill_every_process.py` kills each of them in each phase, with stand-ins for the VMs
@pytest.mark.parametrize(
    ("part", "code"),
    tiers.one(
        [
            pytest.param(b"\0container-build-vm\0", "ContainerGroupTerminated", id="container group"),
            pytest.param(b"pasta\0--foreground\0", "EgressTerminated", id="pasta"),
            pytest.param(b"\0supervisor\n", "NamespaceTerminated", id="supervisor"),
        ]
    ),
)
def test_whatever_else_dies_ends_the_run_within_seconds_too(
    prepared: Settings, run_template: RunTemplate, part: bytes, code: str
) -> None:
    died: list[float] = []

    def watch(event: RunEvent, task: "asyncio.Task[Any]") -> None:
        if isinstance(event, LogLine) and "Waiting for SSH" in event.text and not died and kill_own(part):
            died.append(time.monotonic())

    told = run_template(a_template(shell("true")), watcher=watch)
    assert died, "Packer waited for the build VM, and the process was found"
    assert time.monotonic() - died[0] < 5
    assert recorded(prepared, told) == ("Failed", code)


@pytest.mark.usefixtures("customizing_is_instant")
def test_a_qemu_img_that_dies_while_distributing_leaves_no_image(prepared: Settings, run_template: RunTemplate) -> None:
    died: list[float] = []

    def look() -> None:
        if kill_own(b"qemu-img\0convert\0"):
            died.append(time.monotonic())
        else:
            asyncio.get_running_loop().call_later(0.01, look)

    def watch(event: RunEvent, task: "asyncio.Task[Any]") -> None:
        if isinstance(event, PhaseStarted) and event.phase is Phase.DISTRIBUTING:
            look()

    told = run_template(a_template(shell("true"), name="torn"), watcher=watch)
    assert died, "the process was found"
    assert isinstance(told.error, CommandFailed)
    assert "qemu-img exited with status -9" in told.error.message
    assert recorded(prepared, told) == ("Failed", "CommandFailed")
    assert images_of(prepared, told) == []


def kill_own(part: bytes) -> bool:
    """SIGKILL to the processes of this user that have `part` in their command line or name; whether there was one.

    A VM's process runs as a subordinate id of the user, who may end it as the owner of its user namespace.
    """
    found = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and part in _command_line(entry)]
    own = [entry for entry in found if entry.stat().st_uid in {os.getuid(), *own_subordinate_ids()}]
    for entry in own:
        os.kill(int(entry.name), signal.SIGKILL)
    return bool(own)


def test_a_kernel_panic_ends_the_run_within_seconds_and_is_named(prepared: Settings, run_template: RunTemplate) -> None:
    panicked: list[float] = []

    def watch(event: RunEvent, task: "asyncio.Task[Any]") -> None:
        if isinstance(event, LogLine) and "about to panic" in event.text:
            panicked.append(time.monotonic())

    script = "echo about to panic; sync; echo c | sudo tee /proc/sysrq-trigger; sleep 600"
    told = run_template(a_template(shell(script)), watcher=watch)
    assert panicked, "the step was reached"
    assert isinstance(told.error, GuestPanicked)
    assert time.monotonic() - panicked[0] < 10
    assert "sysrq" in str(told.error.hint), "the end of the console is told"
    assert recorded(prepared, told) == ("Failed", "GuestPanicked")


def _command_line(entry: Path) -> bytes:
    """Of a process, and its name behind it: a copy has the command line of what it is a copy of."""
    try:
        return (entry / "cmdline").read_bytes() + b"\0" + (entry / "comm").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def start_build(tmp_path: Path) -> "subprocess.Popen[str]":
    """A build from the command line, stopped by the caller; returns when Packer waits for the build VM."""
    path = tmp_path / "template.json"
    path.write_text(json.dumps(a_template(shell("sleep 600"))))
    process = subprocess.Popen([*VMKILN, "--verbose", "build", str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "Waiting for SSH" in line:
            return process
    raise AssertionError(f"the build ended with {process.wait()}")


def test_ctrl_c_on_a_terminal_cancels_and_says_so(prepared: Settings, tmp_path: Path) -> None:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(a_template(shell("echo hello", name="greet"), shell("sleep 600", name="wait"))))
    terminal = Terminal([*VMKILN, "build", str(path)], environment={**os.environ, "TERM": "xterm"})
    try:
        terminal.read_until(
            "✓ step 1 of 2: greet", seconds=900
        )  # its line is folded, with the step's time, when it is done
        terminal.read_until("step 2 of 2: wait")
        assert HIDDEN in terminal.told, "the last line is alive"
        terminal.type(CTRL_C)
        terminal.read_until("cancelling; everything temporary is being deleted")
        terminal.type(CTRL_C)  # answered, or come too late; it changes nothing
        assert terminal.read_to_end() == 130
    finally:
        terminal.close()
    assert b"Packer" not in terminal.told, "its own words are in the log"
    assert b"error: the run was cancelled" in terminal.told
    assert terminal.told.rfind(SHOWN) > terminal.told.rfind(HIDDEN), "the cursor is back"
    assert b"Traceback" not in terminal.told
    with opened_store(prepared, print) as store:
        assert store.runs.list(limit=1)[0].state == "Canceled"


def test_after_kill_9_no_process_is_left_and_the_next_command_cleans_up(prepared: Settings, tmp_path: Path) -> None:
    before = first_snapshot(prepared.home)
    process = start_build(tmp_path)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        left = [item for item in differences(before, snapshot(prepared.home)) if item.startswith("processes")]
        if not left:
            break
        time.sleep(0.1)
    assert left == []
    assert any(path.is_dir() for path in prepared.runs.iterdir()), (
        "the run's folder is still there, for nobody could delete it"
    )
    listed = subprocess.run([*VMKILN, "run", "list", "--json"], check=True, capture_output=True, text=True)
    newest = json.loads(listed.stdout)[0]
    assert (newest["state"], newest["error_code"]) == ("Failed", "RunLost")
    assert list(prepared.runs.iterdir()) == []
