"""What `script/try-windows` does and says: each part in its order, what fails named, and one archive without disks."""

import argparse
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from windows_trial import Trial, archived, main, read_options, template_of

from vmkiln.template.template_file import read_image_template

RUN_ID = "01234567-0000-0000-0000-000000000000"
CHECKED = {"system": "Windows Server", "check": {"login": "setup-complete", "tried": [{"run_id": RUN_ID}]}}
BUILT = {
    "run_id": RUN_ID, "state": "Succeeded", "message": "", "facts": {"hygiene": {"verdict": "Unproven"}},
    "phases": [{"name": "Customizing"}, {"name": "Validating"}],
}  # fmt: skip
OTHER_ID, CHECK_ID = f"{9:08}{RUN_ID[8:]}", f"{7:08}{RUN_ID[8:]}"
LOG = "\n".join(f"null: said {word}" for word in ("plain", "elevated", "system", "after-restart"))
ANSWERS = {
    "doctor": json.dumps({"canBuild": True}),
    "image import": json.dumps(CHECKED),
    "build": "{}\n" + json.dumps(BUILT),
    "run logs": LOG,
}


def made(run_id: str, template: str, group: str = "") -> dict[str, str]:
    """A run as the history has it."""
    return {"run_id": run_id, "template": template, "resource_group": group}


# a user's own run begins meanwhile, too
MADE = {
    "image import": [made(CHECK_ID, "check-0123456789ab-setup-complete", "vmkiln-checks")],
    "build": [made(RUN_ID, "try-windows"), made(OTHER_ID.replace("9", "8"), "web")],
}


class Vmkiln:
    """Answers as vmkiln would; a command that is to fail says why on stderr."""

    def __init__(self, **fails: str) -> None:
        self.fails = {name.replace("_", " "): text for name, text in fails.items()}
        self.called: list[str] = []
        self.history = [made(OTHER_ID, "web")]

    def __call__(self, arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        name = " ".join(arguments[: 1 if arguments[0] in {"build", "doctor", "support-bundle"} else 2])
        self.called.append(name)
        for word in arguments:
            if word.endswith((".vhd", ".png", ".tar.gz")) and name != "image import":
                Path(word).write_bytes(b"content")
        if arguments[0] == "history":
            return subprocess.CompletedProcess(arguments, 0, json.dumps(self.history), "")
        self.history[:0] = MADE.get(name, [])  # also by one that fails
        if name in self.fails:
            return subprocess.CompletedProcess(arguments, 1, "", self.fails[name])
        return subprocess.CompletedProcess(arguments, 0, ANSWERS.get(name, ""), "")


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    image = tmp_path / "disk.vhdx"
    image.touch()
    return read_options([str(image), "--emulated"])


def tried(options: argparse.Namespace, folder: Path, vmkiln: Vmkiln) -> tuple[bool, dict[str, str]]:
    folder.mkdir()
    trial = Trial(options, folder, vmkiln)
    has_passed = trial.all()
    return has_passed, {part.phase: part.outcome for part in trial.parts}


def test_each_part_passes_and_the_archive_has_no_disk(options: argparse.Namespace, tmp_path: Path) -> None:
    vmkiln = Vmkiln()
    has_passed, parts = tried(options, tmp_path / "work", vmkiln)
    assert has_passed
    assert list(parts) == ["host", "check", "build", "steps", "hygiene", "validation", "export"]
    assert set(parts.values()) == {"PASS"}
    names = archived(tmp_path / "work", tmp_path / "a.tar.gz")
    runs = [f"run-{run_id[:8]}.{kind}" for run_id in (CHECK_ID, RUN_ID) for kind in ("png", "tar.gz")]
    assert names == ["payload.txt", "report.json", *runs, "template.json"]
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert [one.name for one in archive] == [f"try-windows/{name}" for name in names]


@pytest.mark.parametrize(
    ("failing", "phase"),
    [("doctor", "host"), ("image_import", "check"), ("build", "build"), ("image_export", "export")],
)
def test_what_fails_is_named_with_its_reason_and_what_is_behind_it_skipped(
    options: argparse.Namespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], failing: str, phase: str
) -> None:
    has_passed, parts = tried(options, tmp_path / "work", Vmkiln(**{failing: "error: no\nmore"}))
    assert not has_passed
    assert parts[phase] == "FAIL"
    assert "error: no more" in capsys.readouterr().out
    behind = list(parts.values())[list(parts).index(phase) + 1 :]
    assert set(behind) <= {"SKIP"}
    report = json.loads((tmp_path / "work/report.json").read_text())
    assert [part["outcome"] for part in report["parts"]] == list(parts.values())


@pytest.mark.parametrize(
    ("failing", "runs"), [("doctor", []), ("image_import", [CHECK_ID]), ("build", [CHECK_ID, RUN_ID])]
)
def test_the_archive_has_the_runs_of_the_trial_that_failed_and_no_others(
    options: argparse.Namespace, tmp_path: Path, failing: str, runs: list[str]
) -> None:
    tried(options, tmp_path / "work", Vmkiln(**{failing: "error"}))
    assert sorted(file.name for file in (tmp_path / "work").glob("run-*.tar.gz")) == sorted(
        f"run-{run_id[:8]}.tar.gz" for run_id in runs
    )


def test_a_step_that_said_nothing_has_not_passed(
    options: argparse.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANSWERS, "run logs", LOG.replace("said system", "said nothing"))
    has_passed, parts = tried(options, tmp_path / "work", Vmkiln())
    assert not has_passed
    assert (parts["build"], parts["steps"], parts["export"]) == ("PASS", "FAIL", "SKIP")


@pytest.mark.parametrize("updates", [True, False])
def test_its_template_is_one_that_vmkiln_takes(updates: bool) -> None:
    body = template_of("vmkiln", "try-windows", "trial-gen2", updates=updates)
    template = read_image_template(json.dumps(body), file_name="trial.json").image_template
    kinds = {step.type for step in template.properties.customize}
    assert kinds == {"PowerShell", "File", "WindowsRestart"} | ({"WindowsUpdate"} if updates else set())


def test_a_file_that_is_not_there_is_refused_and_no_archive_is_overwritten(options: argparse.Namespace) -> None:
    assert main(["/nonexistent.vhdx"]) == 2
    assert main([str(options.image), "--output", str(options.image)]) == 2
    assert main([str(options.image), "--output", str(options.image.parent / "none/x.tar.gz")]) == 2
