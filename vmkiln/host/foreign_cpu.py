"""Programs of another CPU, run on this one: a command that lets the kernel hand them to QEMU in its user namespace.

It is for root of a user namespace, which has its own table of program formats (Linux 6.7 or newer lets users have one),
so nothing of the machine is changed. Where the machine's own table knows the format already, that one is used.
Source: Linux, Documentation/admin-guide/binfmt-misc.rst.
"""

import shutil
from collections.abc import Callable, Sequence

from vmkiln.azure_names import Architecture
from vmkiln.errors import HostUnfit

PROGRAMS = {Architecture.ARM64: ("qemu-aarch64-static", "qemu-aarch64")}
PACKAGE = "qemu-user-static"
NAMES = {Architecture.ARM64: "qemu-aarch64"}
# the beginning of an ELF file of the architecture, and which of its bits count
MAGIC = {
    Architecture.ARM64: (
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    )
}
# $1 is the format's name, $2 what it is registered with; then comes the command
_SCRIPT = """set -eu
table=/proc/sys/fs/binfmt_misc name=$1 format=$2
shift 2
if [ ! -e "$table/$name" ]; then
    if ! mount -t binfmt_misc binfmt_misc "$table" || ! printf %s "$format" > "$table/register"; then
        echo "this kernel does not let a user run programs of another CPU: it takes Linux 6.7, or qemu-user-static" \
            "registered by the machine (systemd-binfmt)" >&2
        exit 69
    fi
fi
exec "$@"
"""


def emulated(
    arguments: Sequence[str], architecture: Architecture, *, which: Callable[[str], str | None] = shutil.which
) -> list[str]:
    """The command that lets the other CPU's programs run in the user namespace it is root of, and runs `arguments`.

    Raises: `HostUnfit` when QEMU's user emulation is not installed.
    """
    program = next((found for name in PROGRAMS[architecture] if (found := which(name))), None)
    if program is None:
        raise HostUnfit(
            f"programs of {architecture} cannot be run here: {PROGRAMS[architecture][0]} is not installed",
            hint=f"install the package `{PACKAGE}`",
        )
    name = NAMES[architecture]
    # O: opened by us, C: with the credentials of the program, F: found now, whatever the root directory is later
    registration = f":{name}:M::{MAGIC[architecture]}:{program}:OCF"
    return ["sh", "-c", _SCRIPT, "sh", name, registration, *arguments]
