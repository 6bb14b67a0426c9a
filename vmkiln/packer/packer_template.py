"""What the container instance gets to run Packer: a JSON template and its input files; pure.

A user's text never becomes part of the template, where Packer would interpret `{{ }}`: each script is a file of its
own, named after its place, and the template holds only names that we chose. Its bytes arrive as they are, and
`step_runner.py` runs it, which stands in the command that Packer gives to the VM's shell. Each provisioner is a process
of some 10 MiB that starts before Packer connects, so Shell steps that follow each other share one; Packer still names
each script as it begins.
Source: Packer's documentation of the null builder and of the shell and file provisioners; measured with 1.6.6.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

from vmkiln.errors import InputError
from vmkiln.packer import step_runner

INPUT = "/aib/packerInput"
TEMPLATE = "template.json"
KEY = "key"
DEPROVISION = "deprovision.sh"
DEPROVISION_NAME = "deprovision"
CHECKPOINT_NAME = "checkpoint"
# the interpreter that cloud-init has brought along; a VM that has lost it runs the script without further ado
STARTER = """
for python in python3 /usr/libexec/platform-python; do
    command -v "$python" > /dev/null 2>&1 && exec "$python" -I -S -c "$1" "$2" "$3" "${5-}"
done
[ -z "$3" ] || [ -e "$4" ] || printf '%s' "$3" > "$4"
printf '\\036s%s\\n' "$(cat /proc/sys/kernel/random/boot_id)"
"$2"
status=$?
printf '\\036e%s\\n' "$status"
exit "$status"
"""


@dataclass(frozen=True)
class InlineShell:
    """A Shell step whose commands stand in the template; run by `/bin/sh -e`, as Packer does."""

    name: str
    path: str
    lines: tuple[str, ...]
    checkpoint: "Checkpoint | None" = None


@dataclass(frozen=True)
class ScriptShell:
    """A Shell step whose script was copied from its address to `source`."""

    name: str
    path: str
    source: Path
    checkpoint: "Checkpoint | None" = None


@dataclass(frozen=True)
class FileCopy:
    """A File step: `source` was copied from its address, `destination` is where it goes in the VM."""

    name: str
    path: str
    source: Path
    destination: str


@dataclass(frozen=True)
class Deprovision:
    """The hidden last step: the user's own deprovisioning script if a customizer wrote one, else ours."""

    name: str = DEPROVISION_NAME
    path: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """Behind customizer number `number`, counted from 1: `text` is for Python, and knows `script` and `name`.

    It waits in the VM until the host has saved it, or has decided not to. What runs a Shell step's script runs it, too,
    when that has succeeded: another upload and login would take longer than all the rest. Behind a File step, and one
    that may restart the VM, it is a hidden step of its own.
    """

    number: int
    text: str = field(repr=False)
    name: str = CHECKPOINT_NAME
    path: str = ""


Step = InlineShell | ScriptShell | FileCopy | Checkpoint | Deprovision


@dataclass(frozen=True)
class Connection:
    """How Packer logs in to the VM: through the relay on `port` of its own container group. Timeout in seconds.

    `script_folder` is where its scripts lie in the VM while they run: in memory, so that no image has their text.
    A VM that restarts has `timeout_seconds` for it once more. `environment` is what Shell steps find in theirs.
    """

    port: int
    user: str
    private_key: str
    timeout_seconds: int
    script_folder: str
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class InputFile:
    """One file of the input disk: its text, or the file it is copied from; a script's line ends are looked at."""

    name: str
    text: str | None = None
    source: Path | None = None
    is_script: bool = False


@dataclass(frozen=True)
class PackerInput:
    """Everything the container instance needs: the files of its input disk, and the processes Packer will be."""

    files: tuple[InputFile, ...]
    process_count: int

    def with_file(self, name: str, text: str) -> "PackerInput":
        """The same with one more file."""
        return PackerInput((*self.files, InputFile(name, text)), self.process_count)

    def text_of(self, name: str) -> str:
        """The text of one file, for the plan."""
        return next(file.text or "" for file in self.files if file.name == name)


def shown(content: PackerInput) -> dict[str, Any]:
    """The Packer template for the plan: with the name of the program that runs the scripts, and not its text."""
    template: dict[str, Any] = json.loads(content.text_of(TEMPLATE))
    for provisioner in template["provisioners"]:
        if STARTER.strip().partition("\n")[0] in provisioner.get("execute_command", ""):
            provisioner["execute_command"] = "chmod +x {{.Path}}; {{.Vars}} <step_runner.py> {{.Path}}"
    return template


def step_file(index: int, step: Step) -> str:
    """The file that holds a step's script or content; its number tells which step Packer is at."""
    match step:
        case InlineShell() | ScriptShell():
            return f"{index:04}-shell.sh"
        case FileCopy():
            return f"{index:04}-file"
        case Checkpoint():
            return f"{index:04}-{CHECKPOINT_NAME}.sh"
        case Deprovision():
            return f"{index:04}-{DEPROVISION}"


def packer_input(steps: Sequence[Step], connection: Connection) -> PackerInput:
    """The input of one container instance."""
    default = default_deprovisioning() if any(isinstance(step, Deprovision) for step in steps) else ""
    provisioners = [_provisioner(group, connection, default) for group in _groups(steps)]
    template = {"builders": [_builder(connection)], "provisioners": provisioners}
    files = [
        InputFile(TEMPLATE, json.dumps(template, indent=2) + "\n"),
        InputFile(KEY, connection.private_key),
        arguments_file(),
        environment_file({}),
    ]
    files += [_input_file(index, step) for index, step in enumerate(steps)]
    # Packer starts itself a second time to watch over itself, and the builder is a process too
    return PackerInput(tuple(files), process_count=3 + len(provisioners))


def arguments_file() -> InputFile:
    """How Packer is started, a word a line."""
    arguments = ["/packer", "build", "-machine-readable", "-on-error=cleanup", f"{INPUT}/{TEMPLATE}"]
    return InputFile("arguments", "".join(f"{argument}\n" for argument in arguments))


def environment_file(more: Mapping[str, str]) -> InputFile:
    """The environment that Packer is started in, with `more` in it."""
    environment = {
        "CHECKPOINT_DISABLE": "1",
        "HOME": "/tmp",  # noqa: S108 (a path inside the container group)
        "PACKER_CACHE_DIR": "/tmp/cache",  # noqa: S108
        "PACKER_CONFIG_DIR": "/tmp",  # noqa: S108
        "TMPDIR": "/tmp",  # noqa: S108
        **more,
    }
    return InputFile("environment", "".join(f"{name}={value}\n" for name, value in environment.items()))


def _builder(connection: Connection) -> dict[str, Any]:
    return {
        "type": "null",
        "communicator": "ssh",
        # the relay knows the VM's address, and answers when its port is open
        "ssh_host": "127.0.0.1",
        "ssh_proxy_host": "127.0.0.1",
        "ssh_proxy_port": connection.port,
        "ssh_username": connection.user,
        "ssh_private_key_file": f"{INPUT}/{KEY}",
        "ssh_timeout": f"{connection.timeout_seconds}s",
        "ssh_handshake_attempts": 1000,
        "ssh_keep_alive_interval": "30s",
        # with scp, a destination whose folder is missing becomes a file of the folder's name, and no error
        "ssh_file_transfer_method": "sftp",
    }


def _groups(steps: Sequence[Step]) -> list[list[tuple[int, Step]]]:
    """The steps with their numbers, those together that one provisioner can do."""

    def kind(numbered: tuple[int, Step]) -> tuple[str, int]:
        index, step = numbered
        if not isinstance(step, InlineShell | ScriptShell | Checkpoint):
            return "alone", index
        return ("kept" if checkpoint_of(step) else "shell"), -1

    return [list(group) for _, group in groupby(enumerate(steps), key=kind)]


def _provisioner(group: list[tuple[int, Step]], connection: Connection, default: str) -> dict[str, Any]:
    # byte for byte: without `binary`, Packer makes every CR LF a line feed, also inside an archive behind a script
    shell = {"type": "shell", "remote_folder": connection.script_folder, "binary": True}
    files = [f"{INPUT}/{step_file(index, step)}" for index, step in group]
    match group[0][1]:
        case FileCopy(destination=destination):
            return {"type": "file", "source": files[0], "destination": literal(destination)}
        case Deprovision():
            command = "chmod +x {{.Path}}; sudo sh {{.Path}}"
            # the script removes itself; Packer would come back to remove it while the VM powers off
            return {**shell, "script": files[0], "execute_command": command, "skip_clean": True}
        case InlineShell() | ScriptShell() | Checkpoint():
            checkpoint = checkpoint_of(group[0][1])
            environment = [f"{name}={literal(value)}" for name, value in connection.environment]
            return {
                **shell,
                **({"environment_vars": environment} if environment else {}),
                "scripts": files,
                "execute_command": run_command(default, checkpoint.text if checkpoint else ""),
                # a step may restart the VM: Packer goes on when it can log in again
                "expect_disconnect": True,
                "start_retry_timeout": f"{connection.timeout_seconds}s",
            }


def checkpoint_of(step: object) -> Checkpoint | None:
    """The checkpoint behind a step, which may be one itself; pure."""
    if isinstance(step, InlineShell | ScriptShell):
        return step.checkpoint
    return step if isinstance(step, Checkpoint) else None


def run_command(default: str, checkpoint: str = "") -> str:
    """What Packer has the VM's shell do with a script that it has copied there.

    `default` is the deprovisioning script that lies in the VM before the first step, for customizers to change.
    `checkpoint` is run behind each script that succeeded.
    """
    program = _own_text("step_runner.py")
    before = shlex.join(["sh", "-c", STARTER, "step", program])
    after = shlex.join([default, step_runner.OWN_DEPROVISIONING, *([checkpoint] if checkpoint else [])])
    return f"chmod +x {{{{.Path}}}}; {{{{.Vars}}}} {literal(before)} {{{{.Path}}}} {literal(after)}"


def default_deprovisioning() -> str:
    """What takes out of the disk what belongs to one VM, where no customizer has brought its own."""
    return _own_text("default_deprovisioning.sh")


def _own_text(name: str) -> str:
    return resources.files("vmkiln.packer").joinpath(name).read_text()


def literal(text: str) -> str:
    """Text that Packer does not change. Raises: `InputError` for `{{`, for Packer interprets it again and again."""
    if "{{" in text:
        raise InputError(f"Packer would interpret `{{{{` in `{text}`", hint="use a name without it")
    return text


def _input_file(index: int, step: Step) -> InputFile:
    name = step_file(index, step)
    match step:
        case InlineShell(lines=lines):
            text = "".join(f"{line}\n" for line in lines).replace("\r\n", "\n")
            return InputFile(name, f"#!/bin/sh -e\n{text}")
        case ScriptShell(source=source):
            return InputFile(name, source=source, is_script=True)
        case FileCopy(source=source):
            return InputFile(name, source=source)
        case Checkpoint():
            return InputFile(name, "#!/bin/sh\n")  # what runs it does the rest
        case Deprovision():
            default = default_deprovisioning()
            return InputFile(name, _own_text("deprovision_linux.sh").replace("@DEFAULT@\n", default))
