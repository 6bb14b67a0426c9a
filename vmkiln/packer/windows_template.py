"""What the container instance gets to run Packer on a Windows VM over WinRM; pure.

Each step is one provisioner with a script of its own, never `inline`: inline commands are run in another way by each of
three ranges of versions, and a file's name tells which step Packer is at. What is large travels on a second, read-only
disc, for Packer uploads by commands of 8 kB. A script runs once: from 1.14.2 on Packer runs it again when the
connection broke while it ran, so each leaves a mark as it begins.
Source: docs/windows.md; Packer's documentation of WinRM, the powershell and the windows-restart provisioner.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vmkiln.packer.packer_template import (
    INPUT,
    TEMPLATE,
    InputFile,
    PackerInput,
    arguments_file,
    environment_file,
    literal,
)
from vmkiln.windows import step_scripts
from vmkiln.windows.scripts.shipped import RESTART_WANTED
from vmkiln.windows.steps import (
    MOST_ROUNDS,
    ROUND_RESTART_SECONDS,
    Copied,
    PowerShell,
    Restart,
    Rights,
    Update,
    WindowsDeprovision,
    WindowsFile,
    WindowsStep,
)

CERTIFICATE = "certificate.pem"
DEBUG_LOG = "/tmp/packer.log"  # noqa: S108 (a path inside the container group, which keeps one line of it)
LARGEST_UPLOAD_BYTES = 64 * 1024
PROVISIONERS_OF_UPDATES = 2 * MOST_ROUNDS + 1  # a script and a restart each round, and a last look
WINRM_SECONDS = 1800  # not the build's time: a login that is refused would be tried for as long as that
CONNECTION_LOST = 16001  # what Packer itself makes of a script whose connection broke
RESTART_COMMAND = 'shutdown /r /f /t 5 /c "restarts for a build"'
_COMMAND = (
    'powershell -executionpolicy bypass "& {'
    " if (Test-Path variable:global:ProgressPreference)"
    "{set-variable -name variable:global:ProgressPreference -value 'SilentlyContinue'};"
    f" if (Test-Path '{{{{.Path}}}}.ran') {{exit {CONNECTION_LOST}}};"
    " [void](New-Item -ItemType File -Path '{{.Path}}.ran');"
    " . {{.Vars}}; &'{{.Path}}'; exit $LastExitCode }\""
)


@dataclass(frozen=True)
class WinRmConnection:
    """How Packer logs in to a Windows VM: through the forwarder on `port` of its own container group.

    `certificate` is the run's own, as PEM: Packer believes no other. Timeout in seconds; a VM that restarts has it once
    more.
    """

    port: int
    user: str
    password: str = field(repr=False)
    certificate: str
    timeout_seconds: int


@dataclass(frozen=True)
class WindowsInput:
    """The input of the container instance, and what lies on the VM's second disc."""

    packer: PackerInput
    disc: tuple[InputFile, ...]


def windows_input(steps: Sequence[WindowsStep], connection: WinRmConnection) -> WindowsInput:
    """The input of one container instance, and the files of the disc. Raises: `InputError` for a text with `{{`."""
    files: list[InputFile] = [InputFile(CERTIFICATE, connection.certificate)]
    provisioners: list[dict[str, Any]] = []
    disc: list[InputFile] = []
    for index, step in enumerate(steps):
        for file, provisioner in _provisioners(index, step, connection):
            files += [file] if file else []
            provisioners.append(provisioner)
        disc += _on_disc(index, step)
    template = {"builders": [_builder(connection)], "provisioners": provisioners}
    environment = {"SSL_CERT_FILE": f"{INPUT}/{CERTIFICATE}", "PACKER_LOG": "1", "PACKER_LOG_PATH": DEBUG_LOG}
    own = [
        InputFile(TEMPLATE, json.dumps(template, indent=2) + "\n"),
        arguments_file(),
        environment_file(environment),
    ]
    return WindowsInput(PackerInput((*own, *files), process_count=3 + len(provisioners)), tuple(disc))


def shown(content: WindowsInput) -> dict[str, Any]:
    """The Packer template for the plan, without the password."""
    template: dict[str, Any] = json.loads(content.packer.text_of(TEMPLATE))
    for part in (*template["builders"], *template["provisioners"]):
        for name in ("winrm_password", "elevated_password"):
            if part.get(name):
                part[name] = "<the run's own>"
    return template


def _builder(connection: WinRmConnection) -> dict[str, Any]:
    return {
        "type": "null",
        "communicator": "winrm",
        # Go uses no proxy for the loopback interface; the forwarder holds a connection until the VM's port is open
        "winrm_host": "127.0.0.1",
        "winrm_port": connection.port,
        "winrm_username": connection.user,
        "winrm_password": connection.password,
        "winrm_use_ssl": True,
        "winrm_insecure": False,
        "winrm_timeout": f"{connection.timeout_seconds}s",
    }


def _provisioners(
    index: int, step: WindowsStep, connection: WinRmConnection
) -> list[tuple[InputFile | None, dict[str, Any]]]:
    """Packer's parts of one step, each with its script."""
    match step:
        case PowerShell(script=script, rights=rights, valid_exit_codes=codes):
            return [_script(_file_of(index, script), rights, codes, connection)]
        case WindowsFile():
            text = step_scripts.file_from_disc(_disc_name(index), step)
            return [_script(InputFile(f"{index:04}-file.ps1", text), Rights.PLAIN, (0,), connection)]
        case Restart():
            return [(None, _restart(step.command or RESTART_COMMAND, step.check, step.timeout_seconds))]
        case Update():
            return _rounds(index, step, connection)
        case WindowsDeprovision():
            file = InputFile(f"{index:04}-deprovision.ps1", step_scripts.deprovision())
            _, provisioner = _script(file, Rights.PLAIN, (0,), connection)
            # a new login may fail after sysprep; what is left is removed by the task that turns the VM off
            return [(file, {**provisioner, "skip_clean": True})]


def _file_of(index: int, script: tuple[str, ...] | Copied) -> InputFile:
    name = f"{index:04}-powershell.ps1"
    if not isinstance(script, Copied):
        text = step_scripts.of_lines(script)
        return InputFile(name, text)
    if script.size_bytes <= LARGEST_UPLOAD_BYTES:
        return InputFile(name, source=script.path)
    return InputFile(name, step_scripts.script_from_disc(index, _disc_name(index), script))


def _script(
    file: InputFile, rights: Rights, codes: tuple[int, ...], connection: WinRmConnection
) -> tuple[InputFile, dict[str, Any]]:
    provisioner: dict[str, Any] = {
        "type": "powershell",
        "scripts": [f"{INPUT}/{file.name}"],
        "execute_command": _COMMAND,
        "elevated_execute_command": _COMMAND,
        "valid_exit_codes": list(codes),
        "start_retry_timeout": f"{connection.timeout_seconds}s",
    }
    match rights:
        case Rights.ELEVATED:
            provisioner |= {"elevated_user": connection.user, "elevated_password": connection.password}
        case Rights.SYSTEM:
            provisioner |= {"elevated_user": "SYSTEM", "elevated_password": ""}
        case Rights.PLAIN:
            pass
    return file, provisioner


def _restart(command: str, check: str, seconds: int) -> dict[str, Any]:
    provisioner = {"type": "windows-restart", "restart_command": literal(command), "restart_timeout": f"{seconds}s"}
    return {**provisioner, "restart_check_command": literal(check)} if check else provisioner


def _rounds(index: int, step: Update, connection: WinRmConnection) -> list[tuple[InputFile | None, dict[str, Any]]]:
    codes = (0, RESTART_WANTED)
    found: list[tuple[InputFile | None, dict[str, Any]]] = []
    for number in range(1, step.rounds + 1):
        file = InputFile(f"{index:04}-update-{number:02}.ps1", step_scripts.update_round(index, step))
        restart = _restart(step_scripts.restart_if_needed(index), "", ROUND_RESTART_SECONDS)
        found += [_script(file, Rights.SYSTEM, codes, connection), (None, {**restart, "check_registry": True})]
    last = InputFile(f"{index:04}-update-last.ps1", step_scripts.update_round(index, step, is_last=True))
    return [*found, _script(last, Rights.SYSTEM, (0,), connection)]


def _on_disc(index: int, step: WindowsStep) -> list[InputFile]:
    match step:
        case WindowsFile(source=source):
            return [InputFile(_disc_name(index), source=source.path)]
        case PowerShell(script=Copied(path, size_bytes)) if size_bytes > LARGEST_UPLOAD_BYTES:
            return [InputFile(_disc_name(index), source=path)]
        case _:
            return []


def _disc_name(index: int) -> str:
    return f"{index:04}-file"
