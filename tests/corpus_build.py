"""One build of a template of other people: its scripts are stand-ins, and its end is told apart by whose it is."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orphan_guard import when_killed

STAND_IN = "#!/bin/sh\n# a stand-in: the script that the template names is on the Internet\nexit 0\n"
USERS = {"PackerBuildFailed", "ValidationFailed"}  # error codes of a step that the user wrote
ADDRESSES = ("scripturi", "sourceuri", "script")  # the last one in the oldest api-versions
GRACE_SECONDS = 300


@dataclass(frozen=True)
class Built:
    """How a build ended: `built`, in the `user`'s own step, in `ours`, or `not finished` in its time; and why.

    `stand_ins` are the places in the template whose script was replaced.
    """

    end: str
    why: str
    stand_ins: tuple[str, ...] = ()


def with_stand_ins(body: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Replace every address of a script or file in `body` by a local stand-in; gives their places."""
    found: list[str] = []
    properties = _member(body, "properties")
    validations = _member(_member(properties, "validate") or {}, "inVMValidations") or []
    for kind, steps in (("customize", _member(properties, "customize") or []), ("validate", validations)):
        for index, step in enumerate(steps):
            for name in [name for name in step if name.lower() in ADDRESSES and step[name]]:
                file = folder / f"{kind}-{index}"
                file.write_text(STAND_IN)
                step[name] = f"file:{file.name}"
                found.append(f"{kind}[{index}].{name}")
            for name in [name for name in step if name.lower() == "sha256checksum"]:
                del step[name]
    return tuple(found)


def _member(body: dict[str, Any], name: str) -> Any:
    return next((value for key, value in body.items() if key.lower() == name.lower()), None)


def build(body: dict[str, Any], networks: Sequence[dict[str, Any]], folder: Path, *, minutes: int) -> Built:
    """Build a body in a folder of its own, and say how it ended."""
    folder.mkdir()
    stand_ins = with_stand_ins(body, folder)
    template = folder / "template.json"
    template.write_text(json.dumps(body))
    arguments = [sys.executable, "-m", "vmkiln", "build", str(template), "--allow-local-files", "--json"]
    if networks:
        (folder / "networks.json").write_text(json.dumps(list(networks)))
        arguments += ["--virtual-networks", str(folder / "networks.json")]
    environment = {**os.environ, "VMKILN_CHECKPOINTS": "none"}  # all bodies have one name, and each is built once
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        with when_killed("kill", str(process.pid)):
            try:
                told, errors = process.communicate(timeout=minutes * 60)
            except BaseException as error:
                _cancel(process)
                if isinstance(error, subprocess.TimeoutExpired):
                    return Built("not finished", f"after {minutes} minutes", stand_ins)
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _end_of(process.returncode, told, errors, stand_ins)


def _cancel(process: "subprocess.Popen[str]") -> None:
    """End a build, which cancels its run and cleans up."""
    process.terminate()
    try:
        process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _end_of(code: int, told: str, errors: str, stand_ins: tuple[str, ...]) -> Built:
    """Whose end it was, by the summary that `build --json` prints last; pure."""
    summary: dict[str, Any] = {}
    for line in told.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            summary = found.get("summary", found) if isinstance(found.get("summary", found), dict) else summary
    message = str(summary.get("message") or errors.strip().rpartition("\n")[2])
    if code == 0:
        return Built("built", "", stand_ins)
    error_code = str(summary.get("error_code") or "")
    if "`deprovision`" in message:  # a step that vmkiln adds
        return Built("ours", message[:500], stand_ins)
    is_users = error_code in USERS or message.startswith(("customizing failed in", "validation failed in"))
    return Built("user" if is_users else "ours", message[:500], stand_ins)
