"""What the container instance gets to run Packer: a JSON template and its input files; pure.

A user's text never becomes part of the template, where Packer would interpret `{{ }}`: each script is a file of its
own, named after its place, and the template holds only names that we chose.
Source: Packer's documentation of the null builder and of the shell and file provisioners.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

INPUT = "/aib/packerInput"
TEMPLATE = "template.json"
KEY = "key"
DEPROVISION = "deprovision.sh"
DEPROVISION_NAME = "deprovision"


@dataclass(frozen=True)
class InlineShell:
    """A Shell step whose commands stand in the template; run by `/bin/sh -e`, as Packer does."""

    name: str
    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class ScriptShell:
    """A Shell step whose script was copied from its address to `source`."""

    name: str
    path: str
    source: Path


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


Step = InlineShell | ScriptShell | FileCopy | Deprovision


@dataclass(frozen=True)
class Connection:
    """How Packer logs in to the VM: through the relay of its own container group. Timeout in seconds."""

    port: int
    user: str
    private_key: str
    timeout_seconds: int


@dataclass(frozen=True)
class InputFile:
    """One file of the input disk: its text, or the file it is copied from."""

    name: str
    text: str | None = None
    source: Path | None = None


@dataclass(frozen=True)
class PackerInput:
    """Everything the container instance needs: the files of its input disk."""

    files: tuple[InputFile, ...]

    def text_of(self, name: str) -> str:
        """The text of one file, for the plan."""
        return next(file.text or "" for file in self.files if file.name == name)


def step_file(index: int, step: Step) -> str:
    """The file that holds a step's script or content; its number tells which step Packer is at."""
    match step:
        case InlineShell() | ScriptShell():
            return f"{index:04}-shell.sh"
        case FileCopy():
            return f"{index:04}-file"
        case Deprovision():
            return f"{index:04}-{DEPROVISION}"


def packer_input(steps: Sequence[Step], connection: Connection) -> PackerInput:
    """The input of one container instance."""
    template = {"builders": [_builder(connection)], "provisioners": [_provisioner(i, s) for i, s in enumerate(steps)]}
    environment = {
        "CHECKPOINT_DISABLE": "1",
        "HOME": "/tmp",  # noqa: S108 (a path inside the container group)
        "PACKER_CACHE_DIR": "/tmp/cache",  # noqa: S108
        "PACKER_CONFIG_DIR": "/tmp",  # noqa: S108
        "TMPDIR": "/tmp",  # noqa: S108
    }
    arguments = ["/packer", "build", "-machine-readable", "-on-error=cleanup", f"{INPUT}/{TEMPLATE}"]
    files = [
        InputFile(TEMPLATE, json.dumps(template, indent=2) + "\n"),
        InputFile(KEY, connection.private_key),
        InputFile("arguments", "".join(f"{argument}\n" for argument in arguments)),
        InputFile("environment", "".join(f"{name}={value}\n" for name, value in environment.items())),
    ]
    return PackerInput((*files, *(_input_file(index, step) for index, step in enumerate(steps))))


def _builder(connection: Connection) -> dict[str, Any]:
    return {
        "type": "null",
        "communicator": "ssh",
        "ssh_host": "127.0.0.1",
        "ssh_port": connection.port,
        "ssh_username": connection.user,
        "ssh_private_key_file": f"{INPUT}/{KEY}",
        "ssh_timeout": f"{connection.timeout_seconds}s",
        "ssh_handshake_attempts": 1000,
        "ssh_keep_alive_interval": "30s",
    }


def _provisioner(index: int, step: Step) -> dict[str, Any]:
    file = f"{INPUT}/{step_file(index, step)}"
    match step:
        case FileCopy(destination=destination):
            return {"type": "file", "source": file, "destination": literal(destination)}
        case Deprovision():
            return {"type": "shell", "script": file, "execute_command": "chmod +x {{.Path}}; sudo sh {{.Path}}"}
        case InlineShell() | ScriptShell():
            return {"type": "shell", "script": file}


def literal(text: str) -> str:
    """Text as Packer's template engine gives it back unchanged."""
    return text.replace("{{", '{{"{{"}}')


def _input_file(index: int, step: Step) -> InputFile:
    name = step_file(index, step)
    match step:
        case InlineShell(lines=lines):
            return InputFile(name, "#!/bin/sh -e\n" + "".join(f"{line}\n" for line in lines))
        case ScriptShell(source=source) | FileCopy(source=source):
            return InputFile(name, source=source)
        case Deprovision():
            return InputFile(name, resources.files("vmkiln.packer").joinpath("deprovision_linux.sh").read_text())
