"""Stands in for QEMU where a tiny guest is booted to see whether it does."""

from pathlib import Path

RUNS_THE_GUEST = (
    'for word; do [ "$before" = -initrd ] && grep -a -o "guest-[0-9a-f]*" "$word"; before=$word; done; sleep 60'
)
HANGS = 'printf "\\033[2JProbing EDD (edd=off to disable)... "; sleep 60'
ABORTS = 'echo "kvm_buf_set_msrs: Assertion failed" >&2; exit 134'
ECHOES_ITS_ARGUMENTS = 'echo "$@"; exit 0'


def stand_in(tmp_path: Path, script: str) -> str:
    """A program that does what the script says; `boots` has a line for each time it was started."""
    path = tmp_path / "qemu"
    count = tmp_path / "boots"
    version = f'[ "$1" = --version ] && {{ echo "QEMU 1.0"; exit 0; }}\necho boot >> {count}\n'
    path.write_text(f"#!/bin/sh\n{version}{script}\n")
    path.chmod(0o755)
    return str(path)
