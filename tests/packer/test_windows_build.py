"""What the real Packer makes of Windows steps, over our forwarder, against the WinRM double.

Packer sleeps 5 seconds as it logs in and at each restart, so all builds go on together, and each test looks at one.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from certificates import a_certificate
from stand_ins.windows_machine import WindowsMachine
from windows_bench import Ended, WindowsBench, needs_packer

from vmkiln.packer import step_watch
from vmkiln.packer.packer_output import StepReached
from vmkiln.windows.steps import (
    PowerShell,
    Restart,
    Rights,
    Update,
    WindowsDeprovision,
    WindowsFile,
    WindowsStep,
    copied,
)

AT_ONCE = 18
FLOOD = 2_000_000


def script(*directives: str, rights: Rights = Rights.PLAIN, codes: tuple[int, ...] = (0,)) -> PowerShell:
    lines = tuple(f"# double: {directive}" for directive in directives)
    return PowerShell(f"script {directives[0] if directives else ''}", "p", lines, rights, codes)


def restart(command: str = "", check: str = "", seconds: int = 60) -> Restart:
    return Restart("restart", "p", command, check, seconds)


def update(rounds: int) -> Update:
    return Update("update", "p", "IsInstalled=0", ("exclude:$_.Title -like '*Preview*'", "include:$true"), 20, rounds)


def builds(folder: Path) -> dict[str, tuple[WindowsBench, list[WindowsStep]]]:
    """Each build by its name."""
    large = folder / "large.ps1"
    large.write_bytes(b"# double: out from the large one\n" + b"#" * 300_000)
    blob = folder / "blob"
    blob.write_bytes(bytes(range(256)) * 1000)
    other = folder / "other"
    other.mkdir()
    foreign = a_certificate(other)[0].read_text()
    step = script("out never")
    onto_folder = WindowsFile("file", "p", copied(blob), "C:\\folder")
    default = WindowsMachine
    found: dict[str, tuple[WindowsMachine, list[WindowsStep]]] = {
        "scripts": (default(), [
            script("out plain, it is", "err and its error"),
            script("out elevated", "exit 12", rights=Rights.ELEVATED, codes=(12, 14)),
            script("out system", "exit 3010", rights=Rights.SYSTEM, codes=(0, 3010)),
            PowerShell("empty", "p", ()),
            PowerShell("large", "p", copied(large)),
            PowerShell("braces", "p", ("echo 'gr\u00fc\u00dfe {{user `x`}} {{.Path}}'",)),
            script(f"flood {FLOOD}"),
        ]),
        "restarts": (default(restarts_twice=True, in_progress=1), [
            script("out first"), restart(check="write-host 'restarted'"), script("out last"),
        ]),
        "updates": (default(), [update(2), restart(), script("out last")]),
        "files": (default(), [
            WindowsFile("file", "p", copied(blob), "C:\\Gr\u00fc\u00dfe \u6f22\\{it} $x.bin"),
            script("write C:\\DeprovisioningScript.ps1 # double: out edited"),
            WindowsDeprovision(),
        ]),
        "cut by fin": (default(), [script("out before", "cut fin"), step]),
        "cut by rst": (default(), [script("out before", "cut rst"), step]),
        "down in a script": (default(), [script("out before", "reboot 0.2"), step]),
        "never down": (default(in_progress=-1), [restart(seconds=1), step]),
        "no restart": (default(), [restart("cmd /c if exist C:\\none (shutdown /r) else (exit 0)"), step]),
        "code not valid": (default(), [script("exit 3010"), step]),
        "onto a folder": (default(folders={"c:\\folder"}), [onto_folder, step]),
        "updates for ever": (default(update_rounds=(3010,)), [update(1), step]),
        "deprovision gone": (default(), [script("remove C:\\DeprovisioningScript.ps1"), WindowsDeprovision()]),
        "sysprep fails": (
            default(), [script("write C:\\DeprovisioningScript.ps1 # double: exit 4"), WindowsDeprovision()],
        ),
        "deprovision powers off": (
            default(), [script("write C:\\DeprovisioningScript.ps1 # double: off"), WindowsDeprovision()],
        ),
        "wrong password": (default(), [step]),
        "wrong certificate": (default(), [step]),
        "never open": (default(), [step]),
    }  # fmt: skip
    special = {
        "wrong password": {"password": "zZ9" * 8, "login_seconds": 4},
        "wrong certificate": {"certificate": foreign, "login_seconds": 4},
        "never open": {"is_listening": False, "login_seconds": 4},
    }
    return {
        name: (WindowsBench(folder / name.replace(" ", "-"), machine, **special.get(name, {})), steps)  # type: ignore[arg-type]
        for name, (machine, steps) in found.items()
    }


@pytest.fixture(name="ended", scope="module")
def ended_(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    needs_packer()
    folder = tmp_path_factory.mktemp("windows")

    async def all_of_them() -> dict[str, Ended]:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(build: Callable[[], Awaitable[Ended]]) -> Ended:
            async with turn:
                return await build()

        wanted = builds(folder)
        tasks = {
            name: asyncio.create_task(one(lambda bench=bench, steps=steps: bench.build(*steps)))  # type: ignore[misc]
            for name, (bench, steps) in wanted.items()
        }
        return {name: await task for name, task in tasks.items()}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(step_watch, "RESTART_GRACE_SECONDS", 2)
        return asyncio.run(all_of_them())


def reached(one: Ended) -> list[int]:
    return [event.index for event in one.events if isinstance(event, StepReached)]


def test_scripts_run_plain_elevated_and_as_system_with_their_exit_codes(ended: dict[str, Ended]) -> None:
    one = ended["scripts"]
    assert one.status == 0, one.text[-3000:]
    assert reached(one) == [0, 1, 2, 3, 4, 5, 6]
    assert [line.split(":")[0] for line in one.machine.journal if line.startswith("script")] == [
        "script plain", "script elevated", "script SYSTEM", *["script plain"] * 4,
    ]  # fmt: skip
    assert "    null: plain, it is" in one.text
    assert "==> null: and its error" in one.text
    assert "    null: elevated" in one.text
    assert "    null: system" in one.text


def test_a_script_of_no_bytes_and_one_too_large_to_upload_are_run(ended: dict[str, Ended]) -> None:
    one = ended["scripts"]
    assert "    null: from the large one" in one.text
    assert [len(content) for content in one.machine.scripts][3:5] == [0, 300_033]
    assert any(line.startswith("copied 0004-file to") for line in one.machine.journal), "it came on the disc"


def test_a_scripts_text_arrives_as_it_is_marked_as_utf_8(ended: dict[str, Ended]) -> None:
    arrived = ended["scripts"].machine.scripts[5]
    assert arrived == "\ufeffecho 'gr\u00fc\u00dfe {{user `x`}} {{.Path}}'\n".encode()


def test_output_of_two_megabytes_without_a_line_end_comes_out_whole(ended: dict[str, Ended]) -> None:
    assert ended["scripts"].text.count("x" * 1000) >= FLOOD // 1000 - 20
    assert ended["scripts"].text.count("x") >= FLOOD


def test_restarts_and_rounds_of_updates_are_counted_by_their_step(ended: dict[str, Ended]) -> None:
    one = ended["updates"]
    assert one.status == 0, one.text[-3000:]
    assert sorted(set(reached(one))) == [0, 2]
    assert [text.partition(";")[0] for text in one.said] == [
        "the build-vm restarts during `update`",
        "the build-vm restarts during `restart`",
    ]
    rounds = [line for line in one.machine.journal if line.startswith("update round")]
    assert [line.split(" IsInstalled")[0] for line in rounds] == [
        "update round 1 SYSTEM: 3010",
        "update round 2 SYSTEM: 0",
    ]
    assert "exclude:$_.Title -like '*Preview*'" in rounds[0]


def test_a_restart_that_takes_two_is_over_after_the_second(ended: dict[str, Ended]) -> None:
    one = ended["restarts"]
    assert one.status == 0, one.text[-3000:]
    assert one.machine.resets == 2
    assert all(text.startswith("the build-vm restarts during `restart`") for text in one.said)
    assert "    null: last" in one.text


def test_the_check_after_a_restart_is_run_and_never_judged(ended: dict[str, Ended]) -> None:
    one = ended["restarts"]
    assert "cmd: write-host 'restarted'" in one.machine.journal
    assert "is not recognized" in one.text


def test_a_file_goes_by_the_disc_to_a_name_in_any_letters(ended: dict[str, Ended]) -> None:
    one = ended["files"]
    assert one.status == 0, one.text[-3000:]
    arrived = one.machine.files["c:\\gr\u00fc\u00dfe \u6f22\\{it} $x.bin"]
    assert hashlib.sha256(arrived).digest() == hashlib.sha256(bytes(range(256)) * 1000).digest()


def test_the_deprovisioning_runs_what_a_step_made_of_its_script(ended: dict[str, Ended]) -> None:
    assert "    null: edited" in ended["files"].text


@pytest.mark.parametrize("how", ["cut by fin", "cut by rst"])
def test_a_script_whose_connection_broke_has_not_succeeded(ended: dict[str, Ended], how: str) -> None:
    one = ended[how]
    assert one.status != 0
    assert one.watch.step == 0
    assert "16001" in one.watch.error
    assert "never" not in one.text


def test_a_restart_inside_a_script_fails_by_its_name(ended: dict[str, Ended]) -> None:
    one = ended["down in a script"]
    assert one.status != 0
    assert one.watch.step == 0
    assert one.watch.error.startswith("the build-vm restarted during `script out before`, so nobody knows")


def test_a_shutdown_that_is_in_progress_for_ever_has_an_end(ended: dict[str, Ended]) -> None:
    one = ended["never down"]
    assert one.status != 0
    assert one.watch.error.startswith("`restart` is not over after 3 s")


def test_a_restart_step_without_a_restart_fails(ended: dict[str, Ended]) -> None:
    one = ended["no restart"]
    assert one.status != 0
    assert one.watch.error.startswith("`restart` did not restart the build-vm")


@pytest.mark.parametrize(
    ("name", "step", "told"),
    [
        ("code not valid", 0, "3010"),
        ("onto a folder", 0, "exit status: 1"),
        ("updates for ever", 0, "exit status: 1"),
        ("deprovision gone", 1, "exit status: 1"),
        ("sysprep fails", 1, "exit status: 4"),
        ("deprovision powers off", 1, ""),
    ],
)
def test_a_step_that_failed_is_told_with_its_exit_code(
    ended: dict[str, Ended], name: str, step: int, told: str
) -> None:
    one = ended[name]
    assert one.status != 0
    assert one.watch.step == step
    assert told in one.watch.error, one.text[-2000:]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wrong password", "refuses the build's login (401)"),
        ("wrong certificate", "shows another certificate than the run's own"),
        ("never open", "nothing answered on the VM's WinRM port"),
    ],
)
def test_why_packer_could_not_log_in_is_told(ended: dict[str, Ended], name: str, told: str) -> None:
    one = ended[name]
    assert one.status != 0
    assert one.watch.step == -1
    assert told in one.watch.error
