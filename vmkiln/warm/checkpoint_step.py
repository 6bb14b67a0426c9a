"""The two sides of a checkpoint: the text that has the VM wait, and the host's word that lets it go on.

What runs the script draws a name for each time and tells it by Packer's way; what stays in the VM says it on the
console, and waits for a word with it. So nothing that was said, or written, for another checkpoint is taken for this
one's.

The word lies on the seed's disk, in the system area of its file system, which no program reads; the VM looks for it
there past its own memory. So a VM needs no other device, and no port. A VM that goes on from a checkpoint finds another
run's word there, and becomes another machine.
Source: ECMA-119, 6.2.1: the first 16 sectors of a disc are not specified.
"""

import os
import secrets
from pathlib import Path

from vmkiln.warm.saved_base import FOLDER, RENEWAL

WORD_PLACE, WORD_BYTES = 16384, 4096  # as the guest has them
NOBODY = "nobody"  # no name that a VM draws
END = "END-OF-THE-PROGRAM"
VISIT = Path(__file__).with_name("checkpoint_visit.py3")


def new_token() -> str:
    """What tells the words of one phase of one run from all others."""
    return secrets.token_hex(16)


def visit(token: str) -> str:
    """What runs in the VM to be saved there, behind the customizer's script, as Python; pure but for our own files.

    It is given the script's path as `script`, a `name`, and `output_of` a command; what is wrong is in `said` then.
    Whatever cannot be done in it, the build goes on.
    """
    return f"{VISIT.read_text()}\nsaid = waited({token!r}, {begin(token)!r}, script, name, output_of)\n"


def begin(token: str) -> str:
    """What begins the program that stays in the VM, for `sh`; it prints why it cannot."""
    program = f"{FOLDER}/checkpoint.py"
    inside = (
        "umask 077; p=$(command -v python3 || echo /usr/libexec/platform-python); "
        f"mkdir -p {FOLDER} && cat > {program} && exec systemd-run --quiet --collect "
        f'--unit=vmkiln-checkpoint-$$ "$p" -I -S {program} {token}'
    )
    return (
        f"sudo -n sh -c '{inside}' <<'{END}' > /dev/null 2>&1 || "
        f"echo 'the VM cannot be kept here: sudo, systemd or Python is missing, or did not do it'\n"
        f"{RENEWAL.read_text()}{END}\n"
    )


def write_word(seed: Path, token: str, name: str) -> None:
    """Let a VM go on that waits under this name, or become another. Raises: `OSError`."""
    word = f"{token} {name}".encode().ljust(WORD_BYTES, b"\0")
    descriptor = os.open(seed, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, word, WORD_PLACE)
    finally:
        os.close(descriptor)
