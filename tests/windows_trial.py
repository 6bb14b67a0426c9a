"""Tries a Windows image of the user's through all of a build, and writes down how each part of it ended.

Run by `script/try-windows` on a machine with KVM: no Windows has been built where vmkiln is developed. It does what a
user does, by vmkiln's own commands, and leaves one archive whose files it lists: no disk is among them.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NAME = "vmkiln:try-windows:trial-gen{generation}"
IMAGE = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/try-windows/providers/Microsoft.Compute/"
    "images/try-windows"
)
TEMPLATE, CHECKS = "try-windows", "vmkiln-checks"  # the check's runs are in this group
MOST_RUNS = 1000  # looked through for those of the trial
VMKILN = (sys.executable, "-m", "vmkiln")
MOST_REASON_LETTERS = 500
HYGIENE_OF_WINDOWS = ("Clean", "Unproven")
# what only a Windows can answer; each line of it is in the customization log
QUESTIONS = (
    "# double: out asked",
    "$version = 'HKLM:\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion'",
    "Get-ItemProperty $version | Format-List ProductName, EditionID, CurrentBuildNumber, UBR",
    "winrm get winrm/config",
    "Get-NetConnectionProfile | Format-List",
    "Get-NetIPConfiguration | Format-List",
    "Get-Service | Where-Object { $_.Status -eq 'Running' } | Format-Table -AutoSize Name",
    "Get-Content C:\\Windows\\Panther\\setuperr.log -ErrorAction SilentlyContinue",
    "Get-Content C:\\Windows\\Panther\\UnattendGC\\setupact.log -Tail 60 -ErrorAction SilentlyContinue",
    "exit 0",
)


@dataclass(frozen=True)
class Tried:
    """A part of the trial: how it ended (PASS, FAIL, SKIP), how long it took, why it did not pass."""

    phase: str
    outcome: str
    seconds: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.outcome:4}  {self.phase:12}  {self.seconds:7.1f} s  {self.reason}".rstrip()


class Failed(Exception):
    """A part did not pass."""


@dataclass
class Trial:
    """What is tried, in what order; `call` runs a command of vmkiln's and gives its status and both streams."""

    options: argparse.Namespace
    folder: Path
    call: Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
    parts: list[Tried] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    runs_before: set[str] = field(default_factory=set)

    def all(self) -> bool:
        """Try each part; behind one that fails the others are skipped. Whether all passed."""
        for phase, work in (
            ("host", self._host),
            ("check", self._check),
            ("build", self._build),
            ("steps", self._steps),
            ("hygiene", self._hygiene),
            ("validation", self._validation),
            ("export", self._export),
        ):
            self._part(phase, work)
        self._keep()
        return all(part.outcome == "PASS" for part in self.parts)

    def _part(self, phase: str, work: Callable[[], None]) -> None:
        if any(part.outcome == "FAIL" for part in self.parts):
            part = Tried(phase, "SKIP")
        else:
            began = time.monotonic()
            try:
                work()
                part = Tried(phase, "PASS", round(time.monotonic() - began, 1))
            except Failed as error:
                reason = " ".join(str(error).split())[:MOST_REASON_LETTERS]
                part = Tried(phase, "FAIL", round(time.monotonic() - began, 1), reason)
        self.parts.append(part)
        say(str(part))

    def _asked(self, *arguments: str) -> Any:
        """The JSON that a command ends with. Raises: `Failed` with what it said."""
        done = self.call(arguments)
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            raise Failed(done.stderr.strip() or f"status {done.returncode}")
        text = done.stdout if not arguments[0].startswith("build") else lines[-1]
        return json.loads(text)

    def _host(self) -> None:
        found = self._asked("doctor", "--json")
        self.facts["host"] = found
        self.runs_before = {run["run_id"] for run in self._history()}
        if not found["canBuild"]:
            raise Failed("`vmkiln doctor` says what this machine lacks")

    @property
    def name(self) -> str:
        """What the imported image is called."""
        return NAME.format(generation=self.options.generation)

    def _check(self) -> None:
        options = [f"--as={self.name}:1.0.0", "--os-type=Windows", "--check", "--json"]
        options += ["--emulated"] if self.options.emulated else []
        found = self._asked("image", "import", str(self.options.image), *options)
        self.facts["image"] = found
        if self.options.updates:
            say("      WindowsUpdate is tried, too: that may take hours")

    def _build(self) -> None:
        template, payload = self.folder / "template.json", self.folder / "payload.txt"
        payload.write_text("of the trial\n")
        publisher, offer, sku = self.name.split(":")
        template.write_text(json.dumps(template_of(publisher, offer, sku, updates=self.options.updates), indent=1))
        found = self._asked("build", str(template), "--allow-local-files", "--json")
        self.facts["run"] = found
        if found["state"] != "Succeeded":
            raise Failed(found["message"] or found["state"])

    def _steps(self) -> None:
        log = self.call(("run", "logs", self.facts["run"]["run_id"])).stdout
        for word in ("plain", "elevated", "system", "after-restart"):
            if f"said {word}" not in log:
                raise Failed(f"the log does not say `said {word}`, which a step was to print")

    def _hygiene(self) -> None:
        found = self.facts["run"]["facts"].get("hygiene") or {}
        if found.get("verdict") not in HYGIENE_OF_WINDOWS:
            raise Failed(f"the verdict is {found.get('verdict')}")

    def _validation(self) -> None:
        if "Validating" not in [phase["name"] for phase in self.facts["run"]["phases"]]:
            raise Failed("the run has no phase Validating")

    def _export(self) -> None:
        target = self.folder / "export.vhd"
        done = self.call(("image", "export", IMAGE, str(target), "--format", "vhd"))
        size = target.stat().st_size if target.exists() else 0
        target.unlink(missing_ok=True)
        Path(f"{target}.intoto.json").unlink(missing_ok=True)
        if done.returncode or not size:
            raise Failed(done.stderr.strip() or "nothing was written")

    def _keep(self) -> None:
        """What is known of the runs, as files of the folder, without secrets; what cannot be had is left out."""
        for run_id in self._own_runs():
            bundle, picture = (self.folder / f"run-{run_id[:8]}.{kind}" for kind in ("tar.gz", "png"))
            self.call(("support-bundle", "--run", run_id, "--output", str(bundle), "--no-examine"))
            self.call(("run", "screenshot", run_id, "--picture", str(picture)))
        report = {"parts": [asdict(part) for part in self.parts], **self.facts}
        (self.folder / "report.json").write_text(json.dumps(report, indent=1, default=str))

    def _own_runs(self) -> list[str]:
        """The runs of this trial, those that failed as well, and none that the user had for something else."""
        if not self.facts:
            return []
        return [
            run["run_id"]
            for run in reversed(self._history())
            if run["run_id"] not in self.runs_before
            and (run["template"] == TEMPLATE or (run["resource_group"] == CHECKS and run["template"][:6] == "check-"))
        ]

    def _history(self) -> list[dict[str, Any]]:
        """The newest runs of this user, the newest first; none where they cannot be had."""
        done = self.call(("history", "--json", "--limit", str(MOST_RUNS)))
        found: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 and done.stdout else []
        return found


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def template_of(publisher: str, offer: str, sku: str, *, updates: bool) -> dict[str, Any]:
    """Each kind of step that a Windows template has; what a step says is looked for in the log."""

    def step(name: str, *lines: str, **rights: bool) -> dict[str, Any]:
        inline = [f"# double: out said {name}", f"Write-Output 'said {name}'", *lines]
        return {"type": "PowerShell", "name": name, "inline": inline, **rights}

    update = {"type": "WindowsUpdate", "name": "updates", "updateLimit": 20}
    there = "if (-not (Test-Path -LiteralPath 'C:\\try-windows\\payload.txt')) { exit 7 }"
    return {
        "name": TEMPLATE,
        "location": "local",
        "identity": {"type": "None"},
        "properties": {
            "buildTimeoutInMinutes": 960 if updates else 240,
            "source": {"type": "PlatformImage", "publisher": publisher, "offer": offer, "sku": sku, "version": "1.0.0"},
            "customize": [
                step("plain", *QUESTIONS),
                {"type": "File", "name": "payload", "sourceUri": "file:payload.txt",
                 "destination": "C:\\try-windows\\payload.txt"},
                step("elevated", there, runElevated=True),
                step("system", "whoami", runElevated=True, runAsSystem=True),
                {"type": "WindowsRestart", "name": "restart", "restartTimeout": "15m"},
                *([update] if updates else []),
                step("after-restart", runElevated=True),
            ],
            "validate": {"inVMValidations": [step("validated", there)]},
            "distribute": [
                {"type": "ManagedImage", "runOutputName": "image", "imageId": IMAGE, "location": "local"}
            ],
        },
    }  # fmt: skip


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/try-windows")
    parser.add_argument("image", type=Path, help="a generalized Windows: VHD, VHDX, qcow2 or raw")
    parser.add_argument("--generation", type=int, choices=(1, 2), default=2, help="1 (BIOS) or 2 (UEFI, as said)")
    parser.add_argument("--updates", action="store_true", help="install updates, too: hours, and the way to Microsoft")
    parser.add_argument("--emulated", action="store_true", help="also where there is no KVM")
    parser.add_argument("--output", type=Path, default=None, help="the archive; named by the time when left out")
    return parser.parse_args(arguments)


def archived(folder: Path, target: Path) -> list[str]:
    """Write all files of a folder to an archive; their names."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file())
    with tarfile.open(target, "x:gz") as archive:
        for name in names:
            archive.add(folder / name, f"try-windows/{name}")
    return names


def called(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """A command of vmkiln's; what it says is shown as it comes only where that is no JSON."""
    return subprocess.run([*VMKILN, *arguments], check=False, capture_output=True, text=True, env=os.environ)


def main(arguments: Sequence[str]) -> int:
    options = read_options(arguments)
    if not options.image.is_file():
        sys.stderr.write(f"error: {options.image} is no file\n")
        return 2
    target = options.output or Path(f"try-windows-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz")
    if target.exists():
        sys.stderr.write(f"error: {target} is there already\n")
        return 2
    beside = target.absolute().parent
    if not beside.is_dir():
        sys.stderr.write(f"error: {beside} is no folder\n")
        return 2
    with tempfile.TemporaryDirectory(prefix=".try-windows-", dir=beside) as place:  # has the exported disk for a while
        trial = Trial(options, Path(place), called)
        has_passed = trial.all()
        names = archived(Path(place), target)
    say(f"\n{target} has, without disks and without secrets: {', '.join(names)}")
    say(f"what was imported and built stays: `vmkiln image delete {trial.name}` and `... delete {TEMPLATE}` delete it")
    say("all of it passed" if has_passed else "not all of it passed; the archive says why")
    return 0 if has_passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
