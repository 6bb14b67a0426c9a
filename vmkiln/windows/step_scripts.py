"""The PowerShell that carries out one step in a Windows VM: what Packer uploads and runs as a file of its own; pure.

Text of a template never becomes part of a program: it travels as a script by itself, or as JSON in base64 inside one of
ours. Windows PowerShell 5.1 reads a file without a mark at its beginning in the machine's old code page, so lines that
are not ASCII get the mark of UTF-8. A user's script finds no strict mode and no preference of ours.
"""

import base64

from vmkiln.windows.scripts import shipped
from vmkiln.windows.steps import Copied, Update, WindowsFile

FOLDER = r"C:\Windows\Temp\vmkiln"
FILES_LABEL = "vmkiln-files"  # of the read-only disc whose files the steps take
BYTE_ORDER_MARK = "\ufeff"
_HEAD = "Set-StrictMode -Version 3.0\n$ErrorActionPreference = 'Stop'\n"
_SCRIPT_FROM_DISC = """\
& '@FOLDER@\\copy-file.ps1'
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
Set-StrictMode -Off
$ErrorActionPreference = 'Continue'
& '@SCRIPT@'
exit $LASTEXITCODE
"""


def of_lines(lines: tuple[str, ...]) -> str:
    """The script that an inline step is."""
    text = "".join(f"{line}\n" for line in lines).replace("\r\n", "\n")
    return text if text.isascii() else BYTE_ORDER_MARK + text


def file_from_disc(file_name: str, step: WindowsFile) -> str:
    """Copies a file of the second disc to its destination, and compares it."""
    return _copying(file_name, step.destination, step.source)


def script_from_disc(index: int, file_name: str, source: Copied) -> str:
    """Runs a script that is too large to be uploaded line by line: from a copy of that on the second disc."""
    folder = f"{FOLDER}\\{index:04}"
    script = f"{folder}\\script.ps1"
    encoded = base64.b64encode(_copying(file_name, script, source).encode()).decode()
    lay = f"[IO.File]::WriteAllBytes('{folder}\\copy-file.ps1', [Convert]::FromBase64String('{encoded}'))\n"
    then = _SCRIPT_FROM_DISC.replace("@FOLDER@", folder).replace("@SCRIPT@", script)
    return f"{_HEAD}[void] (New-Item -ItemType Directory -Force -Path '{folder}')\n{lay}{then}"


def update_round(index: int, step: Update, *, is_last: bool = False) -> str:
    """One round of updates: exit code 0 when nothing is left to do, 3010 when the VM is to restart.

    The last one installs nothing, and fails when something is left.
    """
    data = {
        "criteria": step.criteria,
        "filters": list(step.filters),
        "limit": step.limit,
        "state": _state(index),
        "isLast": is_last,
    }
    return shipped.with_data(shipped.UPDATE_ROUND, data)


def restart_if_needed(index: int) -> str:
    """The restart command after a round: it restarts only when that asked for it."""
    return f"cmd /c if exist {_state(index)}.restart (shutdown /r /f /t 5) else (exit 0)"


def deprovision() -> str:
    """Runs what lies in the place of the deprovisioning script, and begins the end of what is ours."""
    return shipped.text(shipped.DEPROVISION)


def _state(index: int) -> str:
    return f"{FOLDER}\\{index:04}-update"


def _copying(file_name: str, destination: str, source: Copied) -> str:
    data = {"name": file_name, "destination": destination, "sha256": source.sha256, "bytes": source.size_bytes}
    return shipped.with_data(shipped.COPY_FILE, data)
