"""The PowerShell files that a Windows build brings into its VM."""

from vmkiln.windows.scripts.shipped import (
    COPY_FILE,
    DEFAULT_DEPROVISIONING,
    DEPROVISION,
    FIRST_BOOT,
    NAMES,
    PLACE,
    RESTART_WANTED,
    UPDATE_ROUND,
    WITH_DATA,
    text,
    with_data,
)

__all__ = [
    "COPY_FILE",
    "DEFAULT_DEPROVISIONING",
    "DEPROVISION",
    "FIRST_BOOT",
    "NAMES",
    "PLACE",
    "RESTART_WANTED",
    "UPDATE_ROUND",
    "WITH_DATA",
    "text",
    "with_data",
]
