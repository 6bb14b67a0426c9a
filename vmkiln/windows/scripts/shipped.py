"""The PowerShell files that a Windows build brings into its VM, as they are shipped: by name, and with their input.

They are for Windows PowerShell 5.1 (Windows Server 2016 and later), ASCII, and get what a template says as data only:
`update-round.ps1` and `copy-file.ps1` have the word `@DATA@`, once, between single quotes, where `with_data` puts JSON
in base64. `vmkiln.ps1` reads `run.json` from the disc that it lies on, and the others need nothing.
"""

import base64
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

FIRST_BOOT = "vmkiln.ps1"
DEFAULT_DEPROVISIONING = "deprovision-default.ps1"
DEPROVISION = "deprovision.ps1"
UPDATE_ROUND = "update-round.ps1"
COPY_FILE = "copy-file.ps1"
NAMES = (FIRST_BOOT, DEFAULT_DEPROVISIONING, DEPROVISION, UPDATE_ROUND, COPY_FILE)
WITH_DATA = (UPDATE_ROUND, COPY_FILE)
PLACE = "@DATA@"
RESTART_WANTED = 3010


def text(name: str) -> str:
    """One of `NAMES` as it is shipped. Raises: `KeyError` for another name."""
    if name not in NAMES:
        raise KeyError(name)
    return resources.files("vmkiln.windows.scripts").joinpath(name).read_text(encoding="ascii")


def with_data(name: str, data: Mapping[str, Any]) -> str:
    """One of `WITH_DATA` with its input, whose members stand at the top of the script. Raises: `KeyError`."""
    if name not in WITH_DATA:
        raise KeyError(name)
    encoded = base64.b64encode(json.dumps(data).encode()).decode()
    return text(name).replace(PLACE, encoded)
